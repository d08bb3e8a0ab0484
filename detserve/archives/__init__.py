"""Archives: .mar files, what they hold, and whether they are as they were packed."""

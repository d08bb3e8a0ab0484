"""Pictures: files and bytes → upright RGB, within limits."""

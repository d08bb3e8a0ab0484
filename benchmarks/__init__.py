"""What is measured, and printed beside the figures in the documents."""

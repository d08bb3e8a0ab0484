"""Video: read frame by frame, faces found in each by the server, and written with them made unrecognisable."""

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".3gp", ".wmv", ".flv",
    ".ogv",
)  # fmt: skip
"""By which a file counts as a video."""

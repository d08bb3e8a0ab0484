"""Where `python -m detserve.serving.versions` was, and still works."""

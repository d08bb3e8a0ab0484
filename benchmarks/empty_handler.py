"""A handler that answers at once: what a request then costs is TorchServe's alone. java.py measures that."""
# mypy: ignore-errors


class EmptyHandler:
    """An empty list for each request."""

    def initialize(self, context):
        """There is nothing to load."""

    def handle(self, data, context):
        """Requests → answers."""
        return [b"[]"] * len(data)

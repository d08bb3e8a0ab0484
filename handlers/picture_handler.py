"""What TorchServe finds in an archive of detserve's: faces, text and reading alike, as the archive's recipe says."""

from detserve.worker.handler import PictureHandler


class Handler(PictureHandler):
    """Pictures → JSON. TorchServe takes the one class that a handler's own module defines."""

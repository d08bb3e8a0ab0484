"""The handler in every archive of detserve, for faces, text and reading alike: the archive's recipe says which."""

from detserve.worker.handler import PictureHandler


class Handler(PictureHandler):
    """Pictures → JSON. TorchServe takes the one class that a handler's own module defines."""

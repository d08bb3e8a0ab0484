"""The handler of text."""

from detserve.worker.handler import PictureHandler


class TextHandler(PictureHandler):
    """Pictures → regions of text."""

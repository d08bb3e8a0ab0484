"""The handler of text."""

from detserve.torchserve import PictureHandler


class TextHandler(PictureHandler):
    """Pictures → regions of text."""

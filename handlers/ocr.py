"""The handler of reading."""

from detserve.torchserve import PictureHandler


class OcrHandler(PictureHandler):
    """Pictures → regions of text and what they say."""

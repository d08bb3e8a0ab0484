"""The handler of reading."""

from detserve.worker.handler import PictureHandler


class OcrHandler(PictureHandler):
    """Pictures → regions of text and what they say."""

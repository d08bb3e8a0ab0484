"""The handler of faces."""

from detserve.torchserve import PictureHandler


class FaceHandler(PictureHandler):
    """Pictures → faces with five landmarks."""

"""The handler of faces."""

from detserve.worker.handler import PictureHandler


class FaceHandler(PictureHandler):
    """Pictures → faces with five landmarks."""

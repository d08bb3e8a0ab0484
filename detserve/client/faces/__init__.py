"""Faces: cut out, brought into one position, or made unrecognisable."""

from detserve.errors import DetserveError

STYLES = ("mosaic", "gauss", "fill")
"""How a face is made unrecognisable."""
SHAPES = ("box", "ellipse")
"""What of it is covered: an ellipse leaves hair, neck and shoulders, by which detectors still find a head."""
BLUR_CONF = 0.15
"""What is covered, unless --conf says otherwise: far more than is surely a face, because a face left open is worse."""
MARGIN = 0.5
"""By which a box grows to both sides together, in ratios of itself: detectors leave out chin, hair and ears."""


class FaceError(DetserveError):
    """Faces of a picture that cannot be aligned or covered. The text says why, on one line."""

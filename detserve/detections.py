"""What a model of your own imports: `detserve.core.detections` under a name that will not change."""

from detserve.core.detections import Detections, Floats, Pixels

__all__ = ["Detections", "Floats", "Pixels"]

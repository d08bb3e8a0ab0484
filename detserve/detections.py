"""The names that a model of your own imports: `detserve.core.detections` under the name that it will keep."""

from detserve.core.detections import Detections, Floats, Pixels

__all__ = ["Detections", "Floats", "Pixels"]

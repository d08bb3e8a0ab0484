"""yolov5-face: faces with five landmarks, anchor-based, in five sizes."""

from detserve.models.yolov5face.layout import ANCHORS, STRIDES, VALUES
from detserve.models.yolov5face.spec import SPECS, Yolov5Face

__all__ = ["ANCHORS", "SPECS", "STRIDES", "VALUES", "Yolov5Face"]

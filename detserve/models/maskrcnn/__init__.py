"""Mask R-CNN: objects and their masks, on colour or on colour with depth."""

from detserve.models.maskrcnn.spec import SPECS, MaskRcnn

__all__ = ["SPECS", "MaskRcnn"]

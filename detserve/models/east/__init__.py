"""EAST: rotated boxes of text, cell by cell."""

from detserve.models.east.spec import SPECS, EastTensorFlow, EastVgg16

__all__ = ["SPECS", "EastTensorFlow", "EastVgg16"]

"""How the outputs of yolov5-face are laid out. Free of PyTorch, because the decode in numpy needs it too."""

STRIDES = (8, 16, 32)
"""Pixels of the input for each cell, output by output."""
ANCHORS = 3
"""Anchors of each cell."""
VALUES = 16
"""Values of each anchor: x, y, w, h, objectness, five landmarks x, y, class."""

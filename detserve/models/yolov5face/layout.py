"""How the outputs of yolov5-face are laid out; free of PyTorch, for the decode on either side."""

STRIDES = (8, 16, 32)
"""Pixels of the input a cell of each output."""
ANCHORS = 3
"""Anchors a cell."""
VALUES = 16
"""Values an anchor: x, y, w, h, objectness, five landmarks x, y, class."""

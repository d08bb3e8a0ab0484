"""Regions: boxes of an answer with a margin, in pixels, cut out or covered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from detserve.core.detections import Pixels

CELLS = 3
"""Cells of a mosaic along the longer side of a box with its margin: with four and more detectors still find faces."""
BLUR = 0.4
"""The sigma of a Gaussian blur in ratios of the same side, for the same reason."""
ROUND = 2**0.5 - 1
"""The margin from which on an ellipse has the corners of the face's box inside."""


class Region(NamedTuple):
    """A box in pixels, right and bottom outside; it may reach over the picture's edges."""

    left: int
    top: int
    right: int
    bottom: int


def region(xywh: Sequence[float], size: tuple[int, int], margin: float) -> Region:
    """The box [cx, cy, w, h] in ratios of a picture of that (width, height), grown by the margin, in whole pixels."""
    cx, cy, w, h = xywh
    x, y = w * (1 + margin) / 2, h * (1 + margin) / 2
    width, height = size
    # Rounded, so that an edge between two pixels is not put into one of them by the last digit of a ratio.
    edges = np.round([(cx - x) * width, (cy - y) * height, (cx + x) * width, (cy + y) * height], 3)
    return Region(*(int(value) for value in (*np.floor(edges[:2]), *np.ceil(edges[2:]))))


def cut(rgb: Pixels, found: Mapping[str, Any], margin: float) -> Pixels:
    """The part of a picture with a detection, as far as the picture reaches, uint8 [h, w, 3]."""
    box = region(found["xywh_ratio"], (rgb.shape[1], rgb.shape[0]), margin)
    return np.ascontiguousarray(rgb[max(0, box.top) : max(0, box.bottom), max(0, box.left) : max(0, box.right)])


def cover(
    pixels: Pixels, boxes: Iterable[Sequence[float]], style: str, shape: str, margin: float, fill: int = 0
) -> None:
    """Make what lies in boxes [cx, cy, w, h] in ratios unrecognisable, in place: uint8 [h, w, 3], or one plane [h, w].

    style and shape: of STYLES and SHAPES; an ellipse touches the box, margin included, which is at least ROUND for it;
    fill: the value that `fill` is filled with. Mosaic and blur leave the colours of a face, `fill` leaves nothing.
    """
    height, width = pixels.shape[:2]
    if shape == "ellipse":
        margin = max(margin, ROUND)
    for xywh in boxes:
        box = region(xywh, (width, height), margin)
        left, top, right, bottom = max(0, box.left), max(0, box.top), min(width, box.right), min(height, box.bottom)
        if left >= right or top >= bottom:
            continue
        part = pixels[top:bottom, left:right]
        hidden = _hidden(part, style, max(box.right - box.left, box.bottom - box.top), fill)
        if shape == "ellipse":
            mask = np.zeros(part.shape[:2], np.uint8)
            middle = ((box.left + box.right) / 2 - left, (box.top + box.bottom) / 2 - top)
            cv2.ellipse(mask, (middle, (box.right - box.left, box.bottom - box.top), 0), 1, -1)
            x1, y1, x2, y2 = (max(0, edge) for edge in region(xywh, (width, height), 0))
            mask[max(0, y1 - top) : max(0, y2 - top), max(0, x1 - left) : max(0, x2 - left)] = 1  # to the last pixel
            part[mask > 0] = hidden[mask > 0]
        else:
            part[:] = hidden


def _hidden(part: Pixels, style: str, longer: int, fill: int) -> Pixels:
    """A part of a picture as `style` shows it. longer: pixels of the longer side of the whole box."""
    height, width = part.shape[:2]
    if style == "fill":
        return np.full_like(part, fill)
    if style == "mosaic":
        cell = -(-longer // CELLS)
        cells = max(1, width // cell), max(1, height // cell)
        small = cv2.resize(part, cells, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    # A blur as wide as this leaves nothing finer than an eighth of its sigma: blurred at that size it is the same, and
    # takes as long for a large face as for a small one.
    shrink = max(1.0, BLUR * longer / 8)
    size = max(1, round(width / shrink)), max(1, round(height / shrink))
    small = cv2.GaussianBlur(
        cv2.resize(part, size, interpolation=cv2.INTER_AREA),
        (0, 0),
        BLUR * longer / shrink,
        borderType=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)

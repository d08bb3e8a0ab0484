"""Boxes: IoU and non-maximum suppression, as pure functions on arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Floats

MAX_CANDIDATES = 4096
"""NMS looks at this many boxes at most, the best by score. This bounds its time when the threshold is near zero."""


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of each box of `a` [n, 4] with each of `b` [m, 4] → float32 [n, m].

    Boxes are corners x1, y1, x2, y2 in any unit; areas are plain (no "+1 pixel"). Empty boxes give 0.
    """
    sides = np.maximum(np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2]), 0)
    inner = sides[..., 0] * sides[..., 1]
    union = _area(a)[:, None] + _area(b) - inner
    overlap: Floats = np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
    return overlap


def _area(boxes: Floats) -> Floats:
    area: Floats = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area


def nms(boxes: Floats, scores: Floats, threshold: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: indices of the boxes that are kept, best score first.

    boxes: float32 [n, 4] corners x1, y1, x2, y2; scores: float32 [n]. A box is dropped when its IoU with a better one
    that is kept is greater than `threshold`. Equal scores keep the order of the input.
    """
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    keep: list[np.intp] = []
    while order.size:
        best, rest = order[0], order[1:]
        keep.append(best)
        order = rest[iou(boxes[best][None], boxes[rest])[0] <= threshold] if rest.size else rest
    return np.asarray(keep, dtype=np.intp)

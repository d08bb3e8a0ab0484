"""yolov5-face: maps of three strides → faces, in numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Detections, Floats
from detserve.models.yolov5face.layout import ANCHORS, STRIDES, VALUES


def decode(levels: Sequence[Floats], anchors: Sequence[float], conf: Sequence[float]) -> list[Detections]:
    """The cells whose objectness and score (objectness times class) are above `conf`, in pixels of the input.

    levels: float32 [n, 48, h, w] for each stride; anchors: width, height in pixels of three anchors for each stride,
    flat; conf: a threshold for each of the n pictures.

    With s = sigmoid, anchor aw, ah and stride t, a cell gx, gy means: centre (2 s(x) - 0.5 + gx) t, likewise y;
    width (2 s(w))² aw, likewise height; landmark v aw + gx t, likewise y with ah. Rows are ordered by level,
    anchor, y and x. Landmarks are the subject's right eye, left eye, nose, right and left mouth corner.
    """
    threshold = np.asarray(conf, np.float64)
    with np.errstate(divide="ignore"):
        logit = np.log(threshold) - np.log1p(-threshold)  # -inf for 0, inf for 1
    sizes = np.asarray(anchors, np.float32).reshape(-1, ANCHORS, 2)
    found = [_level(*level, logit) for level in zip(levels, STRIDES, sizes, strict=True)]
    picture, boxes, scores, points = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    above = scores > threshold[picture]
    chosen = [above & (picture == i) for i in range(len(conf))]
    return [Detections(boxes[rows], scores[rows], points[rows]) for rows in chosen]


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    y: Floats = np.exp(-np.logaddexp(0, -x))
    return y


def _level(
    head: Floats, stride: int, sizes: Floats, logit: NDArray[np.float64]
) -> tuple[NDArray[np.intp], Floats, Floats, Floats]:
    """Head map [n, 48, h, w], anchors [3, 2], logit [n] → picture [k], boxes [k, 4], scores [k], points [k, 5, 2].

    Only cells whose objectness is above the picture's `logit` are touched: few of some thousands.
    """
    n, _, h, w = head.shape
    maps = head.reshape(n, ANCHORS, VALUES, h, w)
    picture, anchor, y, x = np.nonzero(maps[:, :, 4] > logit[:, None, None, None])
    values = maps[picture, anchor, :, y, x]
    size = sizes[anchor]
    cell = np.stack((x, y), axis=1).astype(np.float32) * stride
    squashed = sigmoid(values[:, [0, 1, 2, 3, 4, 15]])
    centre = (2 * squashed[:, :2] - 0.5) * stride + cell
    half = (2 * squashed[:, 2:4]) ** 2 * size / 2
    points = values[:, 5:15].reshape(-1, 5, 2) * size[:, None] + cell[:, None]
    return picture, np.concatenate((centre - half, centre + half), axis=1), squashed[:, 4] * squashed[:, 5], points

"""Order: the corners of a quad, and the quads of a page as a person reads them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Floats


def corners(rectangles: Floats) -> Floats:
    """The corners of rotated rectangles in any order → clockwise from the top left, in the same frame (y down).

    float32 [n, 4, 2] → float32 [n, 4, 2]. The rule of PP-OCR: the two corners of smallest x are the left side, and its
    upper one comes first. So text is taken to run along the sides that span more of x than their neighbours do.
    """
    by_x = np.take_along_axis(rectangles, np.argsort(rectangles[:, :, :1], axis=1, kind="stable"), axis=1)
    sides = by_x.reshape(-1, 2, 2, 2)
    sides = np.take_along_axis(sides, np.argsort(sides[..., 1:], axis=2, kind="stable"), axis=2)
    return np.stack([sides[:, 0, 0], sides[:, 1, 0], sides[:, 1, 1], sides[:, 0, 1]], axis=1)


def lines(quads: Floats, step: float | None = None) -> list[NDArray[np.intp]]:
    """The lines of a page from top to bottom, each the indices of its quads from left to right.

    quads [n, 4, 2] clockwise from the top left, in any frame with y down. The rule of PP-OCR: going down by the
    first corners, a new line starts where the next one lies at least `step` lower than the one before; quads at
    the same place keep their order. PP-OCR takes 10 pixels of the picture; None takes half the median height of
    the quads, which fits text of any size.
    """
    if not len(quads):
        return []
    x, y = quads[:, 0].T
    if step is None:
        step = float(np.median(np.linalg.norm(quads[:, 3] - quads[:, 0], axis=1))) / 2
    downwards = np.argsort(y, kind="stable")
    is_first = np.diff(y[downwards]) >= step
    line = np.concatenate([[0], np.cumsum(is_first)])
    order = downwards[np.lexsort((x[downwards], line))]
    return np.split(order, np.flatnonzero(is_first) + 1)


def reading_order(quads: Floats, step: float | None = None) -> NDArray[np.intp]:
    """The indices of the quads in reading order: those of `lines`, one line after the other.

    Index everything that belongs to the quads with these, scores included (the reference code leaves those as they
    were).
    """
    return np.concatenate([np.empty(0, np.intp), *lines(quads, step)])

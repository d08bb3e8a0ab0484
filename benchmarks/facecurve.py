"""Facecurve: average precision of faces by WIDER FACE's own evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.facelists import Faces

Doubles = NDArray[np.float64]

STEPS = 1000
"""Thresholds of the curve."""
IOU = 0.5
"""At least this much overlap is a find."""


def normalised(found: Sequence[Doubles]) -> list[Doubles]:
    """The found boxes of each picture, [n, 5] (left, top, width, height, score), best first, their scores spread over
    0 to 1: the least of all pictures becomes 0, the greatest 1."""
    scores = np.concatenate([np.empty(0), *[rows[:, 4] for rows in found]])
    low, span = (scores.min(), np.ptp(scores)) if len(scores) else (0.0, 0.0)
    spread = []
    for rows in found:
        rows = rows[np.argsort(-rows[:, 4], kind="stable")].copy()
        rows[:, 4] = (rows[:, 4] - low) / (span or 1)
        spread.append(rows)
    return spread


def average_precision(found: Sequence[Doubles], faces: Sequence[Faces], level: str) -> float:
    """AP of a level, 0 to 1, as WIDER FACE's eval_tools compute it.

    found: what `normalised` returns, a picture each. A box goes to the face that it overlaps most, if by 0.5 or more;
    a face that does not count takes its boxes out of the count; a second box of a face is wrong. Precision and recall
    are taken at 1000 thresholds, and the area under the envelope of the curve is the result.
    """
    there = sum(int(each.levels[level].sum()) for each in faces)
    curve = np.zeros((STEPS, 2))
    for rows, each in zip(found, faces, strict=True):
        if len(rows) and len(each.boxes):
            curve += _counts(rows, each.boxes, each.levels[level])
    if not there:
        return 0.0
    hits, right = curve.T
    # No box at all above a threshold: MATLAB's max passes over 0 / 0.
    precision = np.divide(right, hits, out=np.zeros(STEPS), where=hits > 0)
    recall = np.concatenate([[0], right / there, [1]])
    envelope = np.maximum.accumulate(np.concatenate([[0], precision, [0]])[::-1])[::-1]
    return float((np.diff(recall) * envelope[1:]).sum())


def _counts(rows: Doubles, boxes: Doubles, counts: NDArray[np.bool_]) -> Doubles:
    """At each threshold, how many boxes of a picture count and how many faces they have found: [STEPS, 2]."""
    overlaps = _overlaps(rows[:, :4], boxes)
    best = overlaps.argmax(axis=1)
    is_find = overlaps[np.arange(len(rows)), best] >= IOU
    right = np.zeros(len(rows))
    seen: set[int] = set()
    for i in np.flatnonzero(is_find & counts[best]):
        right[i] = best[i] not in seen
        seen.add(int(best[i]))
    counted = np.cumsum(~(is_find & ~counts[best]))
    thresholds = 1 - np.arange(1, STEPS + 1) / STEPS
    # How many of the boxes, best first, have at least that score.
    above = np.searchsorted(-rows[:, 4], -thresholds, side="right")
    table = np.concatenate([np.zeros((1, 2)), np.stack([counted, np.cumsum(right)], axis=1)])
    return np.asarray(table[above])


def _overlaps(a: Doubles, b: Doubles) -> Doubles:
    """IoU of boxes left, top, width, height, [n, m]; a box reaches to the pixel at left + width, that included."""
    low_a, low_b = a[:, None, :2], b[None, :, :2]
    high_a, high_b = low_a + a[:, None, 2:], low_b + b[None, :, 2:]
    inner = np.minimum(high_a, high_b) - np.maximum(low_a, low_b) + 1
    shared = np.where((inner > 0).all(axis=2), inner.prod(axis=2), 0)
    areas = (high_a - low_a + 1).prod(axis=2) + (high_b - low_b + 1).prod(axis=2)
    return np.asarray(shared / (areas - shared))

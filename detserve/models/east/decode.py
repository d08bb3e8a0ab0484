"""EAST: maps of scores and geometry → quads (arXiv 1704.03155). Decode, locality-aware NMS and plain NMS of quads."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Floats

STRIDE = 4
"""Pixels of the input for each cell of the maps."""
MAX_CELLS = 8192
"""At most this many cells become quads, the best by score. This bounds the time when the threshold is near zero."""

Layout = Literal["vgg16", "tensorflow"]
DISTANCES: dict[Layout, tuple[int, int, int, int]] = {"vgg16": (0, 3, 1, 2), "tensorflow": (0, 1, 2, 3)}
"""The channels of the distances top, right, bottom, left in each layout; the angle is the fifth channel in both."""

_Doubles = NDArray[np.float64]
_Outlines = NDArray[np.complex128]
"""Closed lines through points x + iy, complex [k, n]: column j holds the k corners of outline j, or a point of it."""


def decode(score: Floats, geometry: Floats, *, layout: Layout, threshold: float) -> tuple[Floats, Floats]:
    """Maps of one picture → a quad for each cell whose score is at least `threshold`, in row-major order of the cells.

    Of more than MAX_CELLS cells the best are taken. A score of 0 is no text, whatever the threshold.

    score: float32 [h, w], 0-1; geometry: float32 [5, h, w], the distances of a cell from the sides of its text in
    pixels of the input, and the angle of the text in radians, counter-clockwise. Channels are top, bottom, left,
    right, angle in PyTorch's "vgg16" (SakuraRiven/EAST) and top, right, bottom, left, angle in the "tensorflow"
    graph of argman/EAST that OpenCV's and Triton's samples run.

    Returns quads float32 [n, 4, 2] in pixels of the input, clockwise from the top left, and scores float32 [n].
    """
    cells = np.flatnonzero((score >= threshold) & (score > 0))
    if len(cells) > MAX_CELLS:
        cells = cells[np.sort(np.argsort(-score.flat[cells], kind="stable")[:MAX_CELLS])]
    row, column = np.unravel_index(cells, score.shape)
    values = geometry[:, row, column].astype(np.float64)
    top, right, bottom, left = values[list(DISTANCES[layout])]
    across, down = np.stack([-left, right, right, -left]), np.stack([-top, -top, bottom, bottom])
    cos, sin = np.cos(values[4]), np.sin(values[4])
    x = STRIDE * column + cos * across + sin * down
    y = STRIDE * row - sin * across + cos * down
    return np.stack([x, y], axis=2).swapaxes(0, 1).astype(np.float32), score[row, column]


def inside(quads: Floats, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which quads [n, 4, 2] have at least three corners in a picture of that (width, height): a bool for each.

    SakuraRiven/EAST merges these only.
    """
    outside: NDArray[np.intp] = ((quads < 0) | (quads >= np.array(size))).any(axis=2).sum(axis=1)
    return outside < 2


def locality_nms(quads: Floats, scores: Floats, threshold: float = 0.2) -> tuple[Floats, Floats, Floats]:
    """Locality-aware NMS: neighbouring quads are merged in their order, then the heaviest of overlapping ones is kept.

    quads [n, 4, 2], convex and clockwise, in row-major order of their cells; scores [n], above 0. A quad is merged into
    the one before it when their IoU is greater than `threshold`: corners are averaged with the scores as weights, and
    the weights add up. Then `nms` runs with these weights as scores.

    Returns quads float32 [m, 4, 2], heaviest first, their weights float32 [m] (the paper's score, beyond 1), and the
    mean scores of what was merged, float32 [m]: a confidence from 0 to 1.
    """
    if not len(quads):
        return quads, scores, scores
    weights = scores.astype(np.float64)
    weighted = quads * weights[:, None, None]
    # Whether a quad starts a new group depends on the group so far. So: guess the starts, average each group up to
    # each quad, see which starts follow, and repeat with those until they are the same. Each round settles at least
    # one more quad for good; in practice a few rounds settle all.
    starts = _starts(quads, quads, threshold)
    total, mean = _running(weighted, weights, starts)
    while not np.array_equal(starts, follows := _starts(mean, quads, threshold)):
        starts = follows
        total, mean = _running(weighted, weights, starts)
    last = np.append(starts[1:], True)
    merged, sums = mean[last].astype(np.float32), total[last].astype(np.float32)
    means = (total[last] / np.diff(np.flatnonzero(last), prepend=-1)).astype(np.float32)
    keep = nms(merged, sums, threshold)
    return merged[keep], sums[keep], means[keep]


def nms(quads: Floats, scores: Floats, threshold: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression of quads: indices of those that are kept, best score first.

    quads [n, 4, 2], convex and clockwise, scores [n]. A quad is dropped when its IoU with a better one that is kept is
    greater than `threshold`. Equal scores keep the order of the input. cv2.dnn.NMSBoxesRotated, which the TensorFlow
    samples use, takes the IoU to be 1 where one rectangle lies wholly inside the other, and is the same otherwise.
    """
    order = np.argsort(-scores, kind="stable")
    low, high = quads.min(axis=1), quads.max(axis=1)
    keep: list[np.intp] = []
    while order.size:
        best, rest = order[0], order[1:]
        keep.append(best)
        near = ((low[rest] < high[best]) & (high[rest] > low[best])).all(axis=1)
        near[near] = iou(quads[rest[near]], quads[best]) > threshold
        order = rest[~near]
    return np.asarray(keep, dtype=np.intp)


def iou(a: Floats | _Doubles, b: Floats | _Doubles) -> _Doubles:
    """Intersection over union of convex quads, pair by pair: [n, 4, 2] and [n, 4, 2] or [4, 2] → float64 [n].

    Corners clockwise (y down). A pair of empty quads gives 0.
    """
    first, second = (_complex(quads) for quads in np.broadcast_arrays(a, b))
    origin = first[0]  # far from 0 coordinates would lose digits
    first, second = first - origin, second - origin
    inner = first
    for corner in range(4):
        inner = _clip_half_plane(inner, second[corner], second[(corner + 1) % 4])
    areas = np.maximum([_area(first), _area(second)], 0)
    # The sides of a sliver may point anywhere because of rounding, so that more may be shared than there is.
    shared = np.clip(_area(inner), 0, areas.min(axis=0))
    union = areas.sum(axis=0) - shared
    overlap: _Doubles = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def area(quads: Floats | _Doubles) -> _Doubles:
    """The areas of quads [n, 4, 2] → float64 [n], negative where the corners run counter-clockwise (y down)."""
    return _area(_complex(quads))


def _complex(quads: Floats | _Doubles) -> _Outlines:
    """Quads [n, 4, 2] as outlines [4, n]."""
    return np.ascontiguousarray(quads[..., 0].T + 1j * quads[..., 1].T.astype(np.float64))


def _clip_half_plane(outlines: _Outlines, start: _Outlines, end: _Outlines) -> _Outlines:
    """Outlines [k, n] → [2k, n]: what lies left of the line from start to end, [n] each, is projected onto it.

    Nothing crosses the line, and what lies on it encloses nothing. So the area of the result is that of the part on
    the right of the line, with no special case for any position.
    """
    length = np.abs(end - start)
    right = np.divide(1j * (end - start), length, out=np.zeros_like(start), where=length > 0)
    depth = ((outlines - start) * right.conj()).real
    folded = outlines - np.minimum(depth, 0) * right
    following, depth_there = np.roll(outlines, -1, axis=0), np.roll(depth, -1, axis=0)
    crosses = (depth < 0) != (depth_there < 0)
    part = np.divide(depth, depth - depth_there, out=np.zeros_like(depth), where=crosses)
    between = np.where(crosses, outlines + part * (following - outlines), folded)
    return np.stack([folded, between], axis=1).reshape(2 * len(outlines), -1)


def _area(outlines: _Outlines) -> _Doubles:
    """The areas [n] of outlines [k, n], positive when clockwise (y down): the shoelace formula."""
    area: _Doubles = (outlines.conj() * np.roll(outlines, -1, axis=0)).imag.sum(axis=0) / 2
    return area


def _starts(before: Floats | _Doubles, quads: Floats, threshold: float) -> NDArray[np.bool_]:
    """Which quads start a group: those that do not overlap the one `before` them, and the first."""
    return np.concatenate([[True], iou(before[:-1], quads[1:]) <= threshold])


def _running(weighted: _Doubles, weights: _Doubles, starts: NDArray[np.bool_]) -> tuple[_Doubles, _Doubles]:
    """The weight and the weighted mean of each group up to each of its quads: float64 [n] and [n, 4, 2]."""
    total, moment = np.cumsum(weights), np.cumsum(weighted, axis=0)
    group = np.cumsum(starts) - 1
    total -= (total - weights)[starts][group]
    moment -= (moment - weighted)[starts][group]
    return total, moment / total[:, None, None]

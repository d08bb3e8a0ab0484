"""CRAFT: maps of characters and of the links between them → words. Baek et al., arXiv 1904.01941."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Floats, Pixels

MIN_AREA = 10
"""The least area of a component that may be a word, in map pixels."""
SQUARE = 0.1
"""A rectangle whose sides differ by at most this ratio is a square and is made upright: one letter shows no slant."""
MIN_SIDE = 10
"""The least width and height of a quad that gets an outline, in map pixels."""
SEGMENTS = 11
"""A word is cut into this many pieces from left to right. Its outline can bend in every second one."""
MAX_COLUMN = 0.7
"""A word with a column higher than this part of its quad is not bent and gets no outline."""
MIN_PIECE = 0.25
"""A word whose pieces are narrower than this part of its tallest column gets no outline."""
EXPAND = 1.45
"""An outline is this many times as high as the columns: the maps mark only the middle of letters."""
END_STEPS = (0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7)
"""How far beyond its last bends an outline's ends are tried, in heights of the outline."""

_Doubles = NDArray[np.float64]
_Mask = NDArray[np.bool_]


def words(
    text: Floats,
    link: Floats,
    *,
    text_threshold: float = 0.7,
    link_threshold: float = 0.4,
    low_text: float = 0.4,
) -> tuple[Floats, Floats, list[Floats | None]]:
    """Words in the text and link maps, float32 [h, w] each → their quads, scores and outlines.

    A word is a set of 4-connected pixels above `low_text` in the text map or above `link_threshold` in the link map,
    with at least 10 pixels and a text value of at least `text_threshold` and above `low_text`. Its highest text value
    is its score. The thresholds, the quads and the outlines are those of clovaai/CRAFT-pytorch.

    Returns quads float32 [n, 4, 2], clockwise from the corner of smallest x + y, scores float32 [n], at most 1, and
    for each word its outline, float32 [14, 2], clockwise from the top left of a word that may bend, or None where
    the word is too small or too irregular to have one. All in map pixels; outlines may reach beyond the map.
    """
    letters = text > low_text
    marked = (letters | (link > link_threshold)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(marked, connectivity=4)
    components = np.asarray(labels, np.int32)
    quads, scores, outlines = [], [], []
    for label, (x, y, w, h, area) in zip(range(1, count), stats[1:].tolist(), strict=True):
        if area < MIN_AREA:
            continue
        growth = int(2 * math.sqrt(area * min(w, h) / (w * h)))
        left, top = max(x - growth, 0), max(y - growth, 0)
        around = np.s_[top : y + h + growth + 1, left : x + w + growth + 1]
        component = components[around] == label
        peak = float(text[around][component].max())
        if peak < text_threshold or peak <= low_text:
            continue
        quad = _quad((component & letters[around]).astype(np.uint8), growth, (left, top))
        quads.append(quad)
        scores.append(min(peak, 1))
        outlines.append(_outline(components, label, quad))
    return np.array(quads, np.float32).reshape(-1, 4, 2), np.array(scores, np.float32), outlines


def _quad(mask: Pixels, growth: int, origin: tuple[int, int]) -> Floats:
    """The smallest rectangle around a mask dilated by `growth` pixels; upright when it is nearly a square.

    The mask lies at `origin` (x, y) on the map. That is added to the pixels and not to the corners, because the
    rounding of the corners decides which pixels an upright word has.
    """
    thick = cv2.dilate(mask, np.ones((1 + growth, 1 + growth), np.uint8))
    pixels = cv2.findNonZero(thick).reshape(-1, 2) + np.array(origin, np.int32)
    corners = np.array(cv2.boxPoints(cv2.minAreaRect(pixels)), np.float32)
    a, b = (float(side) for side in np.linalg.norm(corners[1:3] - corners[:2], axis=1))
    if max(a, b) - min(a, b) <= SQUARE * min(a, b):
        (left, top), (right, bottom) = pixels.min(axis=0), pixels.max(axis=0)
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
    return np.roll(corners, -int(corners.sum(axis=1).argmin()), axis=0)


def _outline(components: NDArray[np.int32], label: int, quad: Floats) -> Floats | None:
    """The outline of a bent word, float32 [14, 2] in map pixels; None where it has none."""
    width, height = (int(side) + 1 for side in np.linalg.norm(quad[1:3] - quad[:2], axis=1))
    if min(width, height) < MIN_SIDE:
        return None
    upright = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    to_upright = cv2.getPerspectiveTransform(quad, upright)
    word = cv2.warpPerspective(components, to_upright, (width, height), flags=cv2.INTER_NEAREST) == label
    spine = _spine(word)
    if spine is None:
        return None
    pivots, normals = spine
    pairs = np.stack([pivots + normals, pivots - normals], axis=1)
    # The height of the text is twice a normal. Ends follow the sum of the two slopes next to them, not their mean.
    reach = 2 * float(np.linalg.norm(normals[0]))
    slopes = np.diff(pivots[:, 1]) / np.diff(pivots[:, 0])
    start = _end(word, pairs[0], -reach, float(slopes[:2].sum()))
    end = _end(word, pairs[-1], reach, float(slopes[-2:].sum()))
    pairs = np.concatenate([start[None], pairs, end[None]])
    points = np.concatenate([pairs[:, 0], pairs[::-1, 1]])
    outline: Floats = cv2.perspectiveTransform(points[None], np.linalg.inv(to_upright))[0].astype(np.float32)
    return outline


def _spine(word: _Mask) -> tuple[_Doubles, _Doubles] | None:
    """The middle line of an upright word, bool [h, w]: five pivots [5, 2], and the vectors [5, 2] up to the outline.

    A pivot is the middle of the tallest column in every second piece. The vector is perpendicular to the line between
    the centres of the pieces on both sides. None for a word without an outline.
    """
    height, width = word.shape
    x = np.flatnonzero(np.count_nonzero(word, axis=0) >= 2)
    first, last = word[:, x].argmax(axis=0), height - 1 - word[::-1, x].argmax(axis=0)
    middle, tall = (first + last) / 2, last - first + 1
    if not len(x) or tall.max() > MAX_COLUMN * height:
        return None
    # Column x belongs to piece 11 x // width, except that the number grows by at most one from column to column.
    number = np.arange(len(x))
    piece = np.minimum.accumulate(x * SEGMENTS // width - number) + number
    columns = np.bincount(piece, minlength=SEGMENTS)
    if piece[0] or not columns.all():
        return None
    centres = np.stack([np.bincount(piece, weights) / columns for weights in (x, middle)], axis=1)
    tallest = [int(np.where(piece == k, tall, 0).argmax()) for k in range(1, SEGMENTS, 2)]
    if width / SEGMENTS < MIN_PIECE * tall[tallest].max():
        return None
    along = centres[2::2] - centres[:-2:2]
    half = np.median(tall[tallest]) * EXPAND / 2
    upwards = along[:, ::-1] * (1, -1) / np.linalg.norm(along, axis=1, keepdims=True)
    return np.stack([x[tallest], middle[tallest]], axis=1), half * upwards


def _end(word: _Mask, pair: _Doubles, reach: float, slope: float) -> _Doubles:
    """The pair of points [2, 2] moved outwards until the line between them misses the word, or as far as it may go."""
    for part in END_STEPS:
        moved = pair + np.array([1, slope]) * reach * part
        line = np.zeros(word.shape, np.uint8)
        (x1, y1), (x2, y2) = moved.astype(int).tolist()
        cv2.line(line, (x1, y1), (x2, y2), 1)
        if not (word & (line > 0)).any():
            break
    return moved

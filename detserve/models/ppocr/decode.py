"""DB: a map of text probability → quads. Differentiable Binarization (arXiv 1911.08947), as PP-OCR runs it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Floats
from detserve.text.order import corners

Outline = NDArray[np.int32]
"""A closed line through whole pixels, int32 [k, 2]."""

MAX_CANDIDATES = 1000
"""At most this many contours are looked at, as in PP-OCR. This bounds the time on a map of noise."""
MIN_SIDE = 3
"""The least side of a text's rectangle: this many map pixels, two more after the offset, one more on the picture."""
ARC_TOLERANCE = 0.25
"""How far a chord may lie inside the round corner that it stands for, in map pixels: Clipper's default."""


def quads(
    probability: Floats,
    *,
    size: tuple[int, int] | None = None,
    threshold: float = 0.3,
    box_threshold: float = 0.5,
    unclip: float = 1.6,
    dilate: bool = True,
    score: Literal["fast", "slow"] = "fast",
) -> tuple[Floats, Floats]:
    """Text regions of a probability map, float32 [h, w] → quads float32 [n, 4, 2], and their scores float32 [n].

    A region is a connected set of pixels above `threshold`, grown by one pixel to the right and down when `dilate`.
    Its score is the mean probability inside its smallest rectangle ("fast") or inside its contour ("slow"); regions
    below `box_threshold` are dropped. DB learns shrunken text, so the sides of that rectangle are moved outwards by
    area * `unclip` / perimeter; `unclip` must be above 0.

    Quads are clockwise from the top left, in map pixels and fractions of them, and may reach beyond the map. Given
    the `size` (width, height) of the picture that the map stands for, they are what PP-OCR returns: whole pixels of
    that picture, inside it. The order is that of cv2.findContours.
    """
    mask = (probability > threshold).astype(np.uint8)
    if dilate:
        mask = cv2.dilate(mask, np.ones((2, 2), np.uint8)).astype(np.uint8)
    contours = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0][:MAX_CANDIDATES]
    outlines = [contour.reshape(-1, 2).astype(np.int32) for contour in contours]
    boxes, large = _rectangles(outlines, MIN_SIDE)
    insides: Iterable[Outline | Floats] = boxes if score == "fast" else [outlines[i] for i in large]
    scores = np.array([_mean_inside(probability, inside) for inside in insides], np.float32)
    sure = scores >= box_threshold
    found, large = _rectangles(_offset(boxes[sure], unclip), MIN_SIDE + 2)
    scores = scores[sure][large]
    if size is None:
        return found, scores
    picture = np.array(size, np.float32)
    found = np.clip(np.round(found / probability.shape[::-1] * picture), 0, picture - 1).astype(np.float32)
    sides = np.linalg.norm(found[:, [1, 3]] - found[:, :1], axis=2)
    whole = sides.min(axis=1) >= MIN_SIDE + 1
    return found[whole], scores[whole]


def _rectangles(outlines: Iterable[Outline], min_side: float) -> tuple[Floats, NDArray[np.intp]]:
    """The smallest rectangles around outlines, without those that have a side below `min_side`.

    → their corners, float32 [m, 4, 2], and the indices of their outlines [m].
    """
    rectangles = [cv2.minAreaRect(outline) for outline in outlines]
    large = [i for i, (_, sides, _) in enumerate(rectangles) if min(sides) >= min_side]
    points = [cv2.boxPoints(rectangles[i]) for i in large]
    return corners(np.array(points, np.float32).reshape(-1, 4, 2)), np.array(large, np.intp)


def _mean_inside(probability: Floats, outline: Outline | Floats) -> float:
    """The mean of the map inside an outline, its border included."""
    height, width = probability.shape
    left, top = np.clip(np.floor(outline.min(axis=0)), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(outline.max(axis=0)), 0, (width - 1, height - 1)).astype(int)
    mask = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
    cv2.fillPoly(mask, [(outline - (left, top)).astype(np.int32)], 1)
    return cv2.mean(probability[top : bottom + 1, left : right + 1], mask)[0]


def _offset(boxes: Floats, unclip: float) -> NDArray[np.int32]:
    """Rectangles [n, 4, 2], clockwise, moved outwards, with round corners → their outlines, int32 [n, k, 2].

    This gives what the library Clipper gives with round joins, for a distance of a pixel or more: Clipper truncates
    corners to whole pixels, flattens arcs, and rounds the points, halves away from zero. Some points come twice.
    """
    sides = np.linalg.norm(boxes[:, [1, 2]] - boxes[:, [0, 1]], axis=2).astype(np.float64)
    distance = (sides.prod(axis=1) * unclip / (2 * sides.sum(axis=1)))[:, None, None]
    centres = np.trunc(boxes).astype(np.float64)
    along = np.roll(centres, -1, axis=1) - centres
    normal = np.arctan2(-along[..., 0], along[..., 1])[..., None]  # angle of the normal of the side behind the corner
    previous = np.roll(normal, 1, axis=1)
    turn = (normal - previous) % (2 * np.pi)
    # A circle has as many chords as stay within the tolerance, none of them shorter than two pixels.
    chord = 2 * np.pi / np.minimum(np.pi / np.arccos(1 - np.minimum(ARC_TOLERANCE / distance, 0.25)), np.pi * distance)
    chords = np.maximum(np.floor(turn / chord + 0.5), 1)
    number = np.arange(chords.max(initial=0) + 1)
    angle = np.where(number < chords, previous + number * chord, normal)
    points = centres[:, :, None] + distance[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    outlines: NDArray[np.int32] = np.trunc(points + np.copysign(0.5, points)).astype(np.int32)
    return outlines.reshape(len(boxes), 4 * len(number), 2)

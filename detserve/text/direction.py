"""Direction: whether a page was turned by quarters, and what was found on it upright → places on the page as sent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detserve.core.detections import Detections, Floats
from detserve.text.crops import TALL


def is_sideways(quads: Floats) -> bool:
    """Whether the lines of a page, quads float32 [n, 4, 2], run up or down: those that do are longer together."""
    across, down = _sides(quads)
    return bool(down[down >= TALL * across].sum() > across[across >= TALL * down].sum())


def longest(quads: Floats, count: int, sideways: bool) -> Floats:
    """The quads of the longest lines that run up or down, or else across, at most so many, the longest first."""
    across, down = _sides(quads)
    length, runs = (down, down >= TALL * across) if sideways else (across, across > down)
    rows = np.flatnonzero(runs)
    return quads[rows[np.argsort(-length[rows], kind="stable")[:count]]]


def _sides(quads: Floats) -> tuple[Floats, Floats]:
    """How far each quad reaches along its first side and across it, float32 [n] each."""
    sides = np.linalg.norm(np.roll(quads, -1, axis=1) - quads, axis=2)
    return sides[:, ::2].mean(axis=1), sides[:, 1::2].mean(axis=1)


def turned_back(found: Detections, turns: int, size: tuple[int, int]) -> Detections:
    """Detections on a picture after np.rot90(picture, turns) → the same on the picture itself.

    size: (width, height) of the picture itself. Quads and polygons keep their first corner, so that a quad still starts
    at the top left of its text as it is read.
    """
    width, height = size

    def back(points: Floats) -> Floats:
        x, y = points[..., 0], points[..., 1]
        moved = {0: (x, y), 1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[turns % 4]
        return np.stack(moved, axis=-1).astype(np.float32)

    corners = back(found.boxes.reshape(-1, 2, 2))
    return replace(
        found,
        boxes=np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1),
        keypoints=None if found.keypoints is None else back(found.keypoints),
        quads=None if found.quads is None else back(found.quads),
        polygons=found.polygons and tuple(None if p is None else back(p) for p in found.polygons),
    )

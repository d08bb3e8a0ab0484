"""Paragraphs: lines that stand as close as most lines of their page do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from detserve.client.documents.text import ALONG, Line

WIDER = 1.35
"""A paragraph ends where the next line is so many times further away than lines of the page usually are."""
FURTHEST = 3.0
"""Heights of a line; lines further apart than that say nothing of the usual distance."""
HIGHER = 1.4
"""A paragraph ends where letters become so many times higher or lower."""


def paragraphs(lines: Sequence[Line]) -> list[list[Line]]:
    """Lines in reading order → the same, in paragraphs.

    The distance of two lines is that between their middles, across the direction of the first. What stands beside the
    line before it, on the same row, belongs to its paragraph. Indents and words are not looked at.
    """
    steps = [_distance(a, b) for a, b in pairwise(lines)]
    heights = [line.height for line in lines]
    usual = [step for step, height in zip(steps, heights, strict=False) if height / 2 < step < FURTHEST * height]
    most = WIDER * float(np.median(usual)) if usual else 0.0
    grouped: list[list[Line]] = []
    for i, line in enumerate(lines):
        before = lines[i - 1]
        if (
            i
            and -before.height / 2 <= steps[i - 1] <= max(most, before.height / 2)
            and max(line.height, before.height) <= HIGHER * min(line.height, before.height)
            and line.direction @ before.direction >= ALONG
        ):
            grouped[-1].append(line)
        else:
            grouped.append([line])
    return grouped


def _distance(line: Line, following: Line) -> float:
    """Pixels from the middle of a line down to that of the next, across the direction of the first."""
    step = following.quad.mean(axis=0) - line.quad.mean(axis=0)
    x, y = line.direction
    return float(step @ (-y, x))

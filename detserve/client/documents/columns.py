"""Columns: the lines of a page, in a server's order row by row → column by column, where there are columns of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detserve.client.documents.text import Line

GUTTER = 0.6
"""The least space between two columns, in heights of a line."""
LEAST_LINES = 3
"""Lines of a column; fewer beside each other are rows."""
WIDEST_CELL = 8.0
"""Heights of a line; columns whose lines are mostly narrower than that are those of a table, which is read by rows."""

MOST_TRIED = 20
"""Places of a gutter that are looked at closely."""

Rows = NDArray[np.intp]


def in_columns(lines: Sequence[Line]) -> list[Line]:
    """The lines with each column read to its end before the next one to the right.

    A line across the space between columns, a heading for instance, ends those above it. Where no such columns are
    found the order stays as it is.
    """
    if len(lines) < 2 * LEAST_LINES:
        return list(lines)
    points = np.array([line.quad for line in lines])
    boxes = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    height = float(np.median([line.height for line in lines]))
    return [lines[i] for i in _ordered(boxes, height, np.arange(len(lines)))]


def _ordered(boxes: NDArray[np.float64], height: float, rows: Rows) -> list[int]:
    """The rows of `boxes`, x0, y0, x1, y1 each, in order of columns; `rows` as the server has them."""
    best: list[Rows] = []
    most = 0
    for left in _gutters(boxes, height, rows):
        parts, count = _parts(boxes, height, rows, left)
        if count > most:
            best, most = parts, count
    if not most:
        return [int(row) for row in rows]
    return [i for part in best for i in _ordered(boxes, height, part)]


def _gutters(boxes: NDArray[np.float64], height: float, rows: Rows) -> list[float]:
    """Where gutters may begin: at the right of lines, first where the fewest lines go across."""
    found = np.unique(boxes[rows, 2])
    on_left = boxes[rows, 2] <= found[:, None]
    on_right = boxes[rows, 0] >= found[:, None] + GUTTER * height
    across = len(rows) - on_left.sum(axis=1) - on_right.sum(axis=1)
    likely = np.minimum(on_left.sum(axis=1), on_right.sum(axis=1)) >= LEAST_LINES
    order = np.argsort(across, kind="stable")
    return [float(found[i]) for i in order if likely[i]][:MOST_TRIED]


def _parts(boxes: NDArray[np.float64], height: float, rows: Rows, left: float) -> tuple[list[Rows], int]:
    """The parts of a page on either side of a gutter that begins at `left`, and how many lines stand in columns."""
    is_left, is_right = boxes[rows, 2] <= left, boxes[rows, 0] >= left + GUTTER * height
    middles = (boxes[rows, 1] + boxes[rows, 3]) / 2
    across = ~(is_left | is_right)
    crossing = np.sort(middles[across])
    band = np.searchsorted(crossing, middles, side="left")  # how many lines above go across
    parts: list[Rows] = []
    count = 0
    for number in range(len(crossing) + 1):
        inside = ~across & (band == number)
        columns = rows[inside & is_left], rows[inside & is_right]
        if all(_is_column(boxes[column], height) for column in columns):
            parts.extend(columns)
            count += len(columns[0]) + len(columns[1])
        else:
            parts.append(rows[inside])
        parts.append(rows[across & (band == number)])
    return parts, count


def _is_column(boxes: NDArray[np.float64], height: float) -> bool:
    return len(boxes) >= LEAST_LINES and float(np.median(boxes[:, 2] - boxes[:, 0])) >= WIDEST_CELL * height

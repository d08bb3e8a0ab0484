"""Masks: soft masks of detections, each a small map over a box, and how they become pixels of a picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bits = NDArray[np.bool_]
Paste = Literal["whole", "exact"]
"""How a map is laid over its box, see `Masks.soft`."""
THRESHOLD = 0.5
"""A pixel belongs to the object from this probability on."""
STRIP = 1 << 20
"""Pixels that are interpolated at a time: a mask of a hundred million would take four hundred megabytes as floats."""


@dataclass(frozen=True)
class Cutout:
    """The part of a picture-sized map that is not empty by construction: `values` [h, w], its corner at (left, top)."""

    left: int
    top: int
    values: NDArray[Any]


@dataclass(frozen=True)
class Masks:
    """n soft masks in pixels of the frame of their detections.

    values: float32 [n, s, s], probabilities from 0 to 1 over the whole of a box; boxes: float32 [n, 4], corners
    x1, y1, x2, y2 of it, not clipped; paste: the convention by which they were trained. Raises ValueError when the
    arrays do not fit each other. Indexing with an index array gives new Masks.
    """

    values: Floats
    boxes: Floats
    paste: Paste

    def __post_init__(self) -> None:
        n, side = len(self.boxes), self.values.shape[-1]
        for name, array, shape in (("values", self.values, (n, side, side)), ("boxes", self.boxes, (n, 4))):
            if array.shape != shape or array.dtype != np.float32:
                raise ValueError(f"{name} must be float32 {list(shape)}, not {array.dtype} {list(array.shape)}")
        if self.paste not in get_args(Paste):
            raise ValueError(f"paste must be one of {', '.join(get_args(Paste))}, not {self.paste!r}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Any) -> Masks:
        return replace(self, values=self.values[rows], boxes=self.boxes[rows])

    def moved(self, boxes: Floats) -> Self:
        """The same masks over other boxes, in pixels of another frame for instance."""
        return replace(self, boxes=boxes)

    def soft(self, i: int, size: tuple[int, int]) -> Cutout:
        """Mask i as probabilities, float32, on a picture of that (width, height); 0 around the cutout.

        "exact" (detectron2): the centre of pixel X reads the map at (X + 0.5 - x1) / (x2 - x1) · s - 0.5, bilinear, the
        map being surrounded by zeros. "whole" (torchvision): the map with a rim of one zero is laid over the box grown
        by (s + 2) / s about its centre, whose corners are cut to whole pixels, the last of them included; bilinear, as
        a picture is resized.
        """
        left, top, down, values, across = self._factors(i, size)
        return Cutout(left, top, down @ values @ across.T)

    def cut(self, i: int, size: tuple[int, int]) -> Cutout:
        """Mask i as booleans on a picture of that (width, height)."""
        left, top, down, values, across = self._factors(i, size)
        bits = np.empty((len(down), len(across)), np.bool_)
        rows = max(1, STRIP // max(1, len(across)))
        for start in range(0, len(down), rows):
            part = slice(start, start + rows)
            np.greater_equal(down[part] @ values @ across.T, THRESHOLD, out=bits[part])
        return Cutout(left, top, bits)

    def _factors(self, i: int, size: tuple[int, int]) -> tuple[int, int, Floats, Floats, Floats]:
        """Where a cutout begins, left and top, and the three matrices whose product it is: interpolation is linear."""
        x1, y1, x2, y2 = self.boxes[i].astype(np.float64)
        width, height = size
        if self.paste == "exact":
            values = self.values[i]
            left, across = _exact(x1, x2, len(values), width)
            top, down = _exact(y1, y2, len(values), height)
        else:
            values = np.pad(self.values[i], 1)
            left, across = _whole(x1, x2, len(values), width)
            top, down = _whole(y1, y2, len(values), height)
        return left, top, down, values, across

    def pixels(self, i: int, size: tuple[int, int]) -> Bits:
        """The same as bool [height, width], as large as the picture."""
        whole = np.zeros((size[1], size[0]), np.bool_)
        cut = self.cut(i, size)
        height, width = cut.values.shape
        whole[cut.top : cut.top + height, cut.left : cut.left + width] = cut.values
        return whole


def _exact(start: float, end: float, cells: int, side: int) -> tuple[int, Floats]:
    """One axis of the box: its first pixel, and how much of each cell every pixel reads: float32 [pixels, cells].

    side: the picture's.
    """
    first, last = max(0, int(np.floor(start))), min(side, int(np.ceil(end)))
    centres = np.arange(first, max(first, last)) + 0.5
    length = end - start
    if length <= 0:
        return min(first, side), np.zeros((0, cells), np.float32)
    return min(first, side), _hats((centres - start) / length * cells - 0.5, cells)


def _whole(start: float, end: float, cells: int, side: int) -> tuple[int, Floats]:
    """The same for the box cut to whole pixels; cells: with the rim."""
    centre, half = (start + end) / 2, (end - start) / 2 * (cells / (cells - 2))
    # In float32, so that a corner that falls on a whole pixel is cut to the same one.
    first, last = int(np.float32(centre) - np.float32(half)), int(np.float32(centre) + np.float32(half))
    length = max(last - first + 1, 1)
    shown = np.arange(max(first, 0), max(min(last + 1, side), max(first, 0)))
    places = (shown - first + 0.5) / length * cells - 0.5
    return min(max(first, 0), side), _hats(places.clip(0, cells - 1), cells)


def _hats(places: NDArray[Any], cells: int) -> Floats:
    """Weights of linear interpolation: of cell k at place p max(0, 1 - |p - k|)."""
    weights: Floats = np.clip(1 - np.abs(places[:, None] - np.arange(cells)), 0, None).astype(np.float32)
    return weights

"""Masks of an answer: cutouts as COCO's compressed run lengths, or as outlines."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Floats
from detserve.core.masks import STRIP, Cutout
from detserve.errors import BackendMissing

Ints = NDArray[np.int64]


def check_installed() -> None:
    """Raise BackendMissing where the package that compresses run lengths is not installed."""
    if find_spec("pycocotools") is None:
        raise BackendMissing("masks need the package pycocotools: pip install pycocotools")


def rle(cut: Cutout, size: tuple[int, int]) -> dict[str, Any]:
    """COCO's compressed form, {"size": [height, width], "counts": text}, of a picture of that (width, height)."""
    from pycocotools import mask  # type: ignore[import-untyped]

    width, height = size
    counts = run_lengths(cut, size)
    compressed = mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": compressed["counts"].decode("ascii")}


def run_lengths(cut: Cutout, size: tuple[int, int]) -> list[int]:
    """How many pixels are out, in, out, … when a picture of that (width, height) is read column by column.

    From the cutout alone: the picture may have a hundred million pixels.
    """
    width, height = size
    tall, wide = cut.values.shape
    columns = max(1, STRIP // max(1, tall))
    found: list[list[Ints]] = [[], []]
    for first in range(0, wide, columns):
        framed = np.pad(cut.values[:, first : first + columns].T.astype(np.int8), ((0, 0), (1, 1)))
        steps = np.diff(framed, axis=1)
        for places, step in zip(found, (1, -1), strict=True):
            column, row = np.nonzero(steps == step)
            places.append((column + first + cut.left) * height + row + cut.top)
    starts, ends = (np.concatenate([np.zeros(0, np.int64), *places]) for places in found)
    # A run that reaches the bottom goes on at the top of the next column.
    apart = starts[1:] != ends[:-1]
    starts, ends = starts[np.append(True, apart)[: len(starts)]], ends[np.append(apart, True)[: len(ends)]]
    edges = np.stack([starts, ends], axis=1).ravel()
    counts: list[int] = np.diff(edges, prepend=0, append=width * height).tolist()
    if counts[-1] == 0:  # the last pixel is in, and nothing follows
        counts.pop()
    return counts


def outlines(cut: Cutout) -> list[Floats]:
    """The outlines of the parts of a mask, each float32 [k, 2], x, y in pixels.

    They run through the centres of the pixels at its edge. Holes are filled: an outline has none.
    """
    import cv2

    bits = np.ascontiguousarray(cut.values, np.bool_).view(np.uint8)
    if not bits.any():
        return []
    found, _ = cv2.findContours(bits, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(cut.left, cut.top))
    return [outline[:, 0].astype(np.float32) + np.float32(0.5) for outline in found]

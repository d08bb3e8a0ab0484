"""Masks of an answer: cutouts as COCO's compressed run lengths, or as outlines in ratios of the picture."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Detections
from detserve.core.masks import STRIP, Cutout
from detserve.errors import BackendMissing

Ints = NDArray[np.int64]

DIGITS = 6
"""Decimals of a ratio."""


def columns(found: Detections, size: tuple[int, int], form: str) -> dict[str, list[Any]]:
    """What is said of the masks of detections: key → a value each. size: (width, height) of the upright picture."""
    if found.masks is None or form == "none":
        return {}
    cuts = (found.masks.cut(i, size) for i in range(len(found)))
    if form == "polygon":
        return {"polygons_ratio": [polygons(cut, size) for cut in cuts]}
    return {"mask_rle": [rle(cut, size) for cut in cuts]}


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


def polygons(cut: Cutout, size: tuple[int, int]) -> list[list[float]]:
    """The outlines of the parts of a mask, x, y of each point in turn, through the centres of the pixels at its edge.

    Holes are filled: an outline has none.
    """
    import cv2

    bits = np.ascontiguousarray(cut.values, np.bool_).view(np.uint8)
    if not bits.any():
        return []
    outlines, _ = cv2.findContours(bits, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(cut.left, cut.top))
    return [((outline[:, 0] + 0.5) / size).round(DIGITS).ravel().tolist() for outline in outlines]

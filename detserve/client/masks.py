"""Masks of an answer as pixels, without COCO's own tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]


def mask_of(found: Mapping[str, Any], size: tuple[int, int]) -> Bits | None:
    """The mask of one object on a picture of that (width, height), bool [h, w]; None where the answer has none."""
    if "mask_rle" in found:
        return decode(found["mask_rle"]["counts"], (found["mask_rle"]["size"][1], found["mask_rle"]["size"][0]))
    if "polygons_ratio" not in found:
        return None
    filled = np.zeros((size[1], size[0]), np.uint8)
    for outline in found["polygons_ratio"]:
        points = np.rint(np.reshape(outline, (-1, 2)) * size - 0.5).astype(np.int32)
        cv2.drawContours(filled, [points[:, None]], 0, 1, -1)  # several outlines do not undo one another
    return filled.astype(bool)


def decode(counts: str, size: tuple[int, int]) -> Bits:
    """COCO's compressed run lengths → bool [h, w]. Raises ValueError where they are none of that (width, height).

    Each number is in groups of five bits, the lowest first, in letters from "0" on: 32 says that another follows, 16 in
    the last one that it is negative. From the fourth on it is the difference to the last but one.
    """
    numbers: list[int] = []
    value = shift = 0
    for letter in counts.encode("ascii"):
        code = letter - 48
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
            value = shift = 0
    width, height = size
    if shift or sum(numbers) != width * height or min(numbers, default=0) < 0:
        raise ValueError(f"the run lengths are none of {width}x{height} pixels")
    inside = np.arange(len(numbers)) % 2 == 1
    return np.repeat(inside, numbers).reshape(width, height).T

"""Placing: a picture, and its depth, on the network's canvas, as each convention resizes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Pixels
from detserve.core.letterbox import Letterbox
from detserve.models.maskrcnn.convention import Convention

STRIDE = 32
STRIP_PIXELS = 1 << 20
INSIDE = 1
"""The value of the canvas's last channel where the picture lies; 0 in the padding."""


def letterbox(picture: tuple[int, int], shortest: int, longest: int, convention: Convention) -> Letterbox:
    """Where a picture of that (width, height) lies: at the top left, its shorter side scaled to `shortest` pixels, or
    its longer one to `longest` where it would be more."""
    short, long = min(picture), max(picture)
    if convention.half_up:
        ratio = shortest / short
        sides = [ratio * side for side in picture]
        if max(sides) > longest:
            sides = [side * (longest / max(sides)) for side in sides]
        inner = [int(side + 0.5) for side in sides]
    else:
        ratio = min(shortest / short, longest / long)
        inner = [int(side * ratio + 1e-6) for side in picture]  # 480 · (800 / 480) is 800
    width, height = (max(1, side) for side in inner)
    canvas = -(-width // STRIDE) * STRIDE, -(-height // STRIDE) * STRIDE
    return Letterbox(picture, canvas, (width, height), 0, 0)


def draw(planes: Pixels, placed: Letterbox, canvas: Pixels, convention: Convention) -> None:
    """Lay planes, uint8 [h, w, c], on a canvas, uint8 [height, width, c + 1], zeros around them."""
    width, height = placed.inner
    canvas[height:] = 0
    canvas[:, width:] = 0
    canvas[:height, :width, -1] = INSIDE
    inside = canvas[:height, :width, :-1]
    # Colour and depth apart: Pillow would take four channels for colours with an alpha.
    for part in (slice(0, 3), slice(3, None))[: planes.shape[2] - 2]:
        inside[..., part] = _resized(planes[..., part], (width, height), convention)


def inner(canvas: Pixels) -> tuple[int, int]:
    """(width, height) of the picture that `draw` laid on a canvas."""
    return int((canvas[0, :, -1] == INSIDE).sum()), int((canvas[:, 0, -1] == INSIDE).sum())


def _resized(planes: Pixels, size: tuple[int, int], convention: Convention) -> Pixels:
    if convention.pillow:
        import PIL.Image

        one = planes.shape[2] == 1
        picture = PIL.Image.fromarray(np.ascontiguousarray(planes[..., 0] if one else planes))
        resized = np.asarray(picture.resize(size, PIL.Image.Resampling.BILINEAR))
    else:
        import cv2

        resized = np.asarray(cv2.resize(np.ascontiguousarray(planes), size, interpolation=cv2.INTER_LINEAR))
    return resized.reshape(*resized.shape[:2], planes.shape[2])


def depth_plane(depth: NDArray[Any], scale: float, bounds: tuple[float, float], relative: bool) -> Pixels:
    """Depth in its own units, [h, w], as 8 bits of the range in metres: uint8 [h, w, 1]; 0 is no measurement, too.

    scale: metres a unit; bounds: metres of 0 and of 255. relative: as the server of the two stems had it: what lies
    beyond the range counts as unmeasured, and the picture's least value is subtracted. Computed in float64: of whole
    millimetres some would come out one less.
    """
    low, high = bounds
    # 1000 / 1000 is exact where 1000 · 0.001 may not be.
    units = 1 / scale
    units = round(units) if abs(units - round(units)) < 1e-6 * units else units

    def metres(rows: slice) -> NDArray[np.float64]:
        found = depth[rows].astype(np.float64) / units
        found = np.where(np.isfinite(found), found, 0)
        return np.maximum(np.where(found > high, 0, found) - low, 0) if relative else found

    # Strip by strip: whole, a picture of a hundred megapixels takes gigabytes.
    height = max(1, STRIP_PIXELS // depth.shape[1])
    strips = [slice(top, top + height) for top in range(0, depth.shape[0], height)]
    least = min(metres(rows).min() for rows in strips) if relative else 0.0
    plane = np.empty((*depth.shape, 1), np.uint8)
    for rows in strips:
        found = metres(rows)
        if relative:
            values = (found - least) / (high - low) * 255
        else:
            values = np.where(found > 0, (found.clip(low, high) - low) / (high - low) * 255, 0)
        plane[rows, :, 0] = values.astype(np.uint8)
    return plane

"""Placing: a picture, and its depth, on the network's canvas, as each convention resizes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Pixels
from detserve.core.letterbox import Letterbox
from detserve.models.maskrcnn.convention import Convention

STRIDE = 32
STRIP = 1 << 18
"""Pixels that are worked on at a time, where that takes many bytes each: a picture may have tens of millions."""
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
    if not convention.pillow:
        import cv2

        inside[...] = cv2.resize(planes, placed.inner, interpolation=cv2.INTER_LINEAR).reshape(inside.shape)
        return
    # Colour and depth apart: Pillow would take four channels for colours with an alpha.
    for part in (slice(0, 3), slice(3, None))[: planes.shape[2] - 2]:
        inside[..., part] = _by_pillow(planes[..., part], placed.inner)


def inner(canvas: Pixels) -> tuple[int, int]:
    """(width, height) of the picture that `draw` laid on a canvas."""
    return int((canvas[0, :, -1] == INSIDE).sum()), int((canvas[:, 0, -1] == INSIDE).sum())


def _by_pillow(planes: Pixels, size: tuple[int, int]) -> Pixels:
    """Across and then down by Pillow, rounded between. It copies what it is given: so across by strips. By itself it
    goes, since version 13, down first where that makes less of the picture, of which some values are one more or less.
    """
    rows = max(1, STRIP // planes.shape[1])
    narrow = np.empty((len(planes), size[0], planes.shape[2]), np.uint8)
    for start in range(0, len(planes), rows):
        strip = planes[start : start + rows]
        narrow[start : start + rows] = _one_way(strip, (size[0], len(strip)))
    return _one_way(narrow, size)


def _one_way(planes: Pixels, size: tuple[int, int]) -> Pixels:
    import PIL.Image

    one = planes.shape[2] == 1
    picture = PIL.Image.fromarray(np.ascontiguousarray(planes[..., 0] if one else planes))
    resized = np.asarray(picture.resize(size, PIL.Image.Resampling.BILINEAR))
    return resized.reshape(*resized.shape[:2], planes.shape[2])


def depth_plane(depth: NDArray[Any], scale: float, bounds: tuple[float, float], relative: bool, out: Pixels) -> None:
    """Depth in its own units, [h, w], as 8 bits of the range in metres, into uint8 [h, w]; 0 is no measurement, too.

    scale: metres a unit; bounds: metres of 0 and of 255. relative: as the server of the two stems had it: what lies
    beyond the range counts as unmeasured, and the picture's least value is subtracted. Computed in float64: of whole
    millimetres some would come out one less. By strips, and samples of 16 bits by a table of all their values: as
    floats a large map would take a gigabyte.
    """
    low, high = bounds
    # 1000 / 1000 is exact where 1000 · 0.001 may not be.
    units = 1 / scale
    units = round(units) if abs(units - round(units)) < 1e-6 * units else units

    def above(samples: NDArray[Any]) -> NDArray[np.float64]:
        """Metres above the least of the range."""
        metres = samples.astype(np.float64) / units
        metres = np.where(np.isfinite(metres), metres, 0)
        if relative:
            return np.maximum(np.where(metres > high, 0, metres) - low, 0)
        return np.where(metres > 0, metres.clip(low, high) - low, 0)

    table = above(np.arange(1 << 16)) if depth.dtype == np.uint16 else None
    values = above if table is None else table.__getitem__
    rows = max(1, STRIP // depth.shape[1])
    strips = [slice(start, start + rows) for start in range(0, len(depth), rows)]
    least = min(values(depth[strip]).min() for strip in strips) if relative else 0.0
    for strip in strips:
        out[strip] = ((values(depth[strip]) - least) / (high - low) * 255).astype(np.uint8)

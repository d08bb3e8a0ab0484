"""Letterbox: a picture scaled onto a canvas with its aspect ratio kept. The only place that knows scale and padding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from detserve.core.detections import Detections, Floats, Pixels


@dataclass(frozen=True)
class Letterbox:
    """How one picture lies on its canvas. Sizes are (width, height) in pixels.

    picture: the upright picture; canvas: the network's input; inner: the picture as scaled, rounded to whole
    pixels; left, top: where inner starts on the canvas. `apply` uses exactly these numbers, rounding included, so that
    `invert` is its exact inverse. Raises ValueError for an empty side or an inner that is not inside the canvas.
    """

    picture: tuple[int, int]
    canvas: tuple[int, int]
    inner: tuple[int, int]
    left: int
    top: int

    def __post_init__(self) -> None:
        if min(*self.picture, *self.canvas, *self.inner) < 1:
            raise ValueError(f"every side must be at least one pixel: {self}")
        fits = self.left + self.inner[0] <= self.canvas[0] and self.top + self.inner[1] <= self.canvas[1]
        if min(self.left, self.top) < 0 or not fits:
            raise ValueError(f"the scaled picture must lie inside the canvas: {self}")

    @classmethod
    def fit(cls, picture: tuple[int, int], canvas: tuple[int, int]) -> Self:
        """The largest placement that keeps the aspect, centred; an odd pixel of padding goes right or below.

        The same rounding as yolov5's letterbox, so that its networks see what they were trained on.
        """
        ratio = min(canvas[0] / picture[0], canvas[1] / picture[1])
        width = min(max(1, round(picture[0] * ratio)), canvas[0])
        height = min(max(1, round(picture[1] * ratio)), canvas[1])
        left, top = (canvas[0] - width) // 2, (canvas[1] - height) // 2
        return cls(picture, canvas, (width, height), left, top)

    def apply(self, rgb: Pixels, out: Pixels, fill: int) -> None:
        """Draw the picture, uint8 [h, w, 3], on the canvas `out`, uint8 [H, W, 3]; padding gets the value `fill`.

        Bilinear as in yolov5, bicubic where `rgb` is the picture decoded at a reduced size: see `reduced`.
        """
        import cv2

        width, height = self.inner
        right, bottom = self.left + width, self.top + height
        out[: self.top] = out[bottom:] = fill
        out[self.top : bottom, : self.left] = out[self.top : bottom, right:] = fill
        inside = out[self.top : bottom, self.left : right]
        if rgb.shape == inside.shape:
            inside[...] = rgb
        else:
            how = cv2.INTER_CUBIC if self.reduced(rgb.shape) else cv2.INTER_LINEAR
            cv2.resize(rgb, (width, height), dst=inside, interpolation=how)

    def reduced(self, shape: tuple[int, ...]) -> bool:
        """Whether pixels of that shape [h, w, 3] are the picture at a fraction of its size.

        Such pixels are smooth already. Bilinear scaling takes from them what small faces are found by.
        """
        return (shape[1], shape[0]) != self.picture

    def drawn_on_new_canvas(self, rgb: Pixels, fill: int) -> Pixels:
        """A new canvas, uint8 [H, W, 3], with the picture drawn on it by `apply`."""
        canvas = np.empty((self.canvas[1], self.canvas[0], 3), np.uint8)
        self.apply(rgb, canvas, fill)
        return canvas

    def cut(self, score_map: Floats) -> Floats:
        """A map over the whole canvas, float32 [h, w] of any size → the part of it over the picture."""
        scale_x, scale_y = score_map.shape[1] / self.canvas[0], score_map.shape[0] / self.canvas[1]
        right, bottom = self.left + self.inner[0], self.top + self.inner[1]
        rows = slice(int(self.top * scale_y), int(bottom * scale_y) or 1)
        columns = slice(int(self.left * scale_x), int(right * scale_x) or 1)
        return score_map[rows, columns]

    def invert(self, points: Floats) -> Floats:
        """Points x, y on the canvas, float32 [..., 2] → the same points on the upright picture, in its pixels."""
        origin = np.array([self.left, self.top], np.float32)
        scale = np.array([self.picture[0] / self.inner[0], self.picture[1] / self.inner[1]])
        inverted: Floats = ((points - origin) * scale).astype(np.float32)
        return inverted

    def invert_detections(self, found: Detections) -> Detections:
        """Detections in pixels of the canvas → of the upright picture; all but the keypoints are clipped to it.

        Masks stay over the whole of their boxes: a pixel outside of the picture is not drawn, and no mask is squeezed.
        """
        edge = np.array(self.picture, np.float32)
        masks = found.masks

        def clipped(points: Floats) -> Floats:
            return np.minimum(np.maximum(self.invert(points), 0), edge)

        return replace(
            found,
            boxes=clipped(found.boxes.reshape(-1, 2, 2)).reshape(-1, 4),
            keypoints=None if found.keypoints is None else self.invert(found.keypoints),
            quads=None if found.quads is None else clipped(found.quads),
            polygons=found.polygons and tuple(None if p is None else clipped(p) for p in found.polygons),
            masks=masks and masks.moved(self.invert(masks.boxes.reshape(-1, 2, 2)).reshape(-1, 4)),
        )

"""Objects: masks in a colour for each class, and a legend of the classes, drawn on a picture."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import PIL.ImageDraw

from detserve.client.masks import mask_of
from detserve.core.detections import Pixels

Colour = tuple[int, int, int]
GOLDEN = 0.618034
"""A step round the circle of hues by which neighbours in number are far apart in colour."""
OPACITY = 0.45


def colour_of(label_id: int) -> Colour:
    """The colour of a class, the same in every picture."""
    red, green, blue = colorsys.hsv_to_rgb(label_id * GOLDEN % 1, 0.75, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def paint(canvas: Pixels, detections: Sequence[Mapping[str, Any]]) -> None:
    """Lay the masks of an answer over a picture, uint8 [h, w, 3] RGB, the best on top."""
    size = canvas.shape[1], canvas.shape[0]
    for found in reversed(detections):
        mask = mask_of(found, size)
        if mask is not None and mask.shape == canvas.shape[:2]:
            mixed = canvas[mask] * (1 - OPACITY) + [OPACITY * value for value in colour_of(found["label_id"])]
            canvas[mask] = mixed.astype(canvas.dtype)


def legend(pen: PIL.ImageDraw.ImageDraw, detections: Sequence[Mapping[str, Any]], font: Any) -> None:
    """A list of the classes in the picture and how often each is there, at the bottom left."""
    counts = Counter((found["label"], found["label_id"]) for found in detections)
    lines = [(f"{label} × {count}", colour_of(number)) for (label, number), count in counts.most_common()]
    if not lines:
        return
    step = font.size * 1.4
    width = max(font.getlength(text) for text, _ in lines) + 2.4 * step
    top = max(0.0, pen.im.size[1] - step * (len(lines) + 0.5))
    pen.rectangle((0, top, width, pen.im.size[1]), fill="white")
    for i, (text, colour) in enumerate(lines):
        y = top + step * (i + 0.25)
        pen.rectangle((0.4 * step, y, 1.2 * step, y + 0.8 * step), fill=colour)
        pen.text((1.6 * step, y), text, fill="black", font=font)

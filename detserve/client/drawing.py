"""Drawing: what an answer says, drawn on its picture.

Text is drawn in Pillow's own font, which has little more than ASCII, or in the first of some common fonts of the system
that has more of the text's characters. Characters that none of them has are drawn as boxes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray

from detserve.client import draft, objects
from detserve.client.answer import quad_of
from detserve.core.detections import Pixels

FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "arial.ttf", "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "msyh.ttc",
    "Hiragino Sans GB.ttc",
)  # fmt: skip
"""Files that are looked for where the system keeps its fonts."""
GREEN, ORANGE, BLUE = (40, 200, 60), (255, 90, 0), (60, 130, 255)
SMALLEST = 10
"""The smallest size of letters, in pixels."""
QUALITY = 90
DOTS = 25
"""The shorter side of a face, in radii of the dots on its landmarks."""
COVERED = 0.15
"""The most of another detection, or of another label, that a label may cover."""
_NOWHERE = "\uffff"  # in no font: it shows what a font draws for characters that it lacks

Font = PIL.ImageFont.FreeTypeFont
Points = NDArray[np.int32]


def draw(rgb: Pixels, detections: Sequence[Mapping[str, Any]]) -> Pixels:
    """The detections of an answer, drawn on a copy of their upright picture, uint8 [h, w, 3] RGB.

    Each has its quad, or else its box; its polygon and its landmarks; and its text, or else label and confidence.
    Objects have their masks in a colour for each class, and there is a legend.
    """
    canvas = np.ascontiguousarray(rgb).copy()
    named = [found for found in detections if "label_id" in found]
    objects.paint(canvas, named)
    shorter = min(rgb.shape[:2])
    width = max(1, round(shorter / 300))
    labels = []
    for found in detections:
        shape = _points(quad_of(found), canvas)
        colour = objects.colour_of(found["label_id"]) if "label_id" in found else GREEN
        cv2.polylines(canvas, [shape], True, colour, width, cv2.LINE_AA)
        if polygon := found.get("polygon_ratio"):
            cv2.polylines(canvas, [_points(polygon, canvas)], True, BLUE, width, cv2.LINE_AA)
        dot = max(1, round(min(np.ptp(shape, axis=0)) / DOTS))
        for x, y in _points(found.get("landmarks_ratio", ()), canvas).tolist():
            cv2.circle(canvas, (x, y), dot, ORANGE, -1, cv2.LINE_AA)
        labels.append((shape, found.get("text") or f"{found.get('label', '')} {found['conf']:.2f}".strip()))
    # All text comes last, so that no line crosses it.
    picture = PIL.Image.fromarray(canvas)
    pen = PIL.ImageDraw.Draw(picture)
    taken = np.array([(*shape.min(axis=0), *shape.max(axis=0)) for shape, _ in labels], np.float64).reshape(-1, 4)
    for (shape, label), found in zip(labels, detections, strict=True):
        size = max(SMALLEST, min(shorter // 30, int(np.ptp(shape[:, 1]))))
        ground = _write(pen, shape, label, size, taken, needed="text" in found)
        if ground is not None:
            taken = np.vstack([taken, ground])
    if named:
        objects.legend(pen, named, _font("".join(found["label"] for found in named), max(SMALLEST, shorter // 30)))
    return np.array(picture)


def heat(rgb: Pixels, grey: Pixels) -> Pixels:
    """A score map over the picture in colours, blue for 0 to red for 255.

    rgb: uint8 [h, w, 3]; grey: uint8 [any height, any width], stretched over the picture; → uint8 [h, w, 3] RGB.
    """
    size = rgb.shape[1], rgb.shape[0]
    colours = cv2.applyColorMap(cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR), cv2.COLORMAP_JET)
    blended = cv2.addWeighted(rgb, 0.5, cv2.cvtColor(colours, cv2.COLOR_BGR2RGB), 0.5, 0)
    return np.asarray(blended, np.uint8)


def save(rgb: Pixels, path: Path) -> None:
    """Write a JPEG. Raises OSError when that fails, as for a side of more than 65500 pixels."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(rgb).save(buffer, "JPEG", quality=QUALITY)
    draft.write(path, buffer.getvalue())


def _points(ratios: Sequence[float], canvas: Pixels) -> Points:
    """x, y of each point in turn, in ratios → int32 [n, 2] in pixels."""
    points = np.reshape(np.asarray(ratios, np.float64), (-1, 2)) * (canvas.shape[1], canvas.shape[0])
    return np.rint(points).astype(np.int32)


def _write(
    pen: PIL.ImageDraw.ImageDraw, shape: Points, label: str, size: int, taken: NDArray[np.float64], needed: bool
) -> tuple[float, float, float, float] | None:
    """A label on a ground of its own beside the shape, where it covers the least → the ground x0, y0, x1, y1.

    Above the shape if that is free, else below, right or left of it, moved as far as needed to lie inside the picture.
    taken: what is not to be covered, [n, 4] x0, y0, x1, y1. None where all places cover too much of something, and the
    label is not needed: then it is left out.
    """
    font = _font(label, size)
    right, bottom = font.getbbox(label)[2:]
    margin = size / 5
    width, height = right + 2 * margin, bottom + margin
    (x0, y0), (x1, y1) = shape.min(axis=0), shape.max(axis=0)
    places = np.array([(x0, y0 - height), (x0, y1 + 1), (x1 + 1, y0), (x0 - width, y0)], np.float64)
    places = np.clip(places, 0, np.maximum(0, np.subtract(pen.im.size, (width, height))))
    covered = [_covered((x, y, x + width, y + height), taken) for x, y in places]
    best = int(np.argmin(np.round(covered, 2)))  # the first of those that are alike
    if covered[best] > COVERED and not needed:
        return None
    x, y = places[best]
    ground = (float(x), float(y), float(x + width), float(y + height))
    pen.rectangle(ground, fill=GREEN)
    pen.text((x + margin, y), label, fill="black", font=font)
    return ground


def _covered(ground: tuple[float, float, float, float], taken: NDArray[np.float64]) -> float:
    """The largest share of any of the boxes x0, y0, x1, y1 that a ground covers."""
    shared = np.minimum(taken[:, 2:], ground[2:]) - np.maximum(taken[:, :2], ground[:2])
    areas = np.prod(np.maximum(taken[:, 2:] - taken[:, :2], 1), axis=1)
    return float((np.prod(np.maximum(shared, 0), axis=1) / areas).max(initial=0))


def _font(text: str, size: int) -> Font:
    """The font that has the most characters of a text, the first of several."""
    return _sized(max(_fonts(), key=lambda font: sum(_shows(font, letter) for letter in text)), size)


@lru_cache(256)
def _sized(font: Font, size: int) -> Font:
    return font.font_variant(size=size)


@cache
def _fonts() -> tuple[Font, ...]:
    built_in = PIL.ImageFont.load_default(SMALLEST)
    assert isinstance(built_in, Font), "Pillow as it is installed from its packages has FreeType"
    fonts = [built_in]
    for name in FONTS:
        with suppress(OSError):
            fonts.append(PIL.ImageFont.truetype(name, SMALLEST))
    return tuple(fonts)


@cache
def _shows(font: Font, letter: str) -> bool:
    return letter.isspace() or bytes(font.getmask(letter)) != bytes(font.getmask(_NOWHERE))

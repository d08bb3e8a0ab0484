"""Crops: a quad of a picture → an upright picture of its text for a recogniser, and what it finds there → quads."""

from __future__ import annotations

import math

import cv2
import numpy as np

from detserve.core.detections import Floats, Pixels

TALL = 1.5
"""A crop of this height to width or more is taken for text that runs downwards."""
MARGIN = 3
"""Pixels round a quad that cubic interpolation may look at."""


def crop(rgb: Pixels, quad: Floats) -> tuple[Pixels, Floats]:
    """The text inside a quad, upright, uint8 [h, w, 3], and the quad with its corners as they lie in that crop.

    rgb: uint8 [H, W, 3]; quad: float32 [4, 2] in its pixels, clockwise from the top left; it may reach beyond the
    picture, whose border is repeated there.

    As PP-OCR: the crop is as wide and as high as the longest opposite sides; cubic; one that is at least 1.5 times as
    high as wide is turned by 90° counter-clockwise. Then its top left corner is the quad's top right, and so on: the
    quad that is returned starts there, clockwise still.
    """
    sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
    width, height = max(1, int(sides[::2].max())), max(1, int(sides[1::2].max()))
    # Only what lies around the quad: OpenCV warps no picture of more than 32766 pixels a side.
    limit = np.array(rgb.shape[1::-1])
    left, top = np.clip(np.floor(quad.min(axis=0)).astype(int) - MARGIN, 0, limit - 1)
    right, bottom = np.clip(np.ceil(quad.max(axis=0)).astype(int) + MARGIN, (left, top), limit) + 1
    upright = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(quad - np.array([left, top], np.float32), upright)
    text = cv2.warpPerspective(
        rgb[top:bottom, left:right], matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    if height >= TALL * width:
        return np.rot90(text).astype(np.uint8, copy=False), np.roll(quad, -1, axis=0)
    return text.astype(np.uint8, copy=False), quad


def fit(text: Pixels, height: int, width: int, fill: int) -> tuple[Pixels, int]:
    """A crop on the input of a recogniser: uint8 [h, w, 3] → uint8 [height, width, 3], and how wide the crop is on it.

    Bilinear, scaled to the whole height with its aspect kept, or to the whole width when it is longer than that; the
    rest to the right gets the value `fill`. PP-OCR fills with 0 after its (x - 127.5) / 127.5: 127 and 128 are as
    near as pixels come.
    """
    inner = min(width, math.ceil(height * (text.shape[1] / text.shape[0])))
    canvas = np.full((height, width, 3), fill, np.uint8)
    canvas[:, :inner] = cv2.resize(text, (inner, height), interpolation=cv2.INTER_LINEAR)
    return canvas, inner


def cut(quad: Floats, spans: Floats) -> Floats:
    """Pieces of a quad from left to right: float32 [4, 2] and spans [n, 2] → quads float32 [n, 4, 2].

    A span is where a piece starts and ends along the quad's top and bottom sides, 0 their left end, 1 their right.
    """
    left, right = quad[[0, 3]], quad[[1, 2]]
    starts, ends = (left + (right - left) * part[:, None, None] for part in spans.T)
    return np.stack([starts[:, 0], ends[:, 0], ends[:, 1], starts[:, 1]], axis=1).astype(np.float32)

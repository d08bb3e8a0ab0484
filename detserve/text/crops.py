"""Crops: a quad of a picture → an upright crop of its text for a recogniser; spans of that text → quads."""

from __future__ import annotations

import math

import cv2
import numpy as np

from detserve.core.detections import Floats, Pixels

TALL = 1.5
"""A crop whose height is at least this many times its width is taken for text that runs downwards."""
MARGIN = 3
"""Pixels around a quad that cubic interpolation may read."""


def crop(rgb: Pixels, quad: Floats) -> tuple[Pixels, Floats]:
    """The text inside a quad, upright, uint8 [h, w, 3], and the quad with its corners in the order of that crop.

    rgb: uint8 [H, W, 3]; quad: float32 [4, 2] in its pixels, clockwise from the top left. Where the quad reaches beyond
    the picture, the border is repeated.

    As in PP-OCR, the crop is as wide and as high as the longer of the opposite sides, with cubic interpolation. A crop
    that is at least 1.5 times as high as wide is turned by 90° counter-clockwise. Its top left corner is then the
    quad's top right: the quad that is returned starts there and is still clockwise.
    """
    sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
    width, height = max(1, int(sides[::2].max())), max(1, int(sides[1::2].max()))
    # Warp only the part around the quad: OpenCV warps no picture with a side of more than 32766 pixels.
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


def fit(text: Pixels, height: int, width: int, fill: int, end: int = 0) -> tuple[Pixels, int]:
    """A crop on the input of a recogniser: uint8 [h, w, 3] → uint8 [height, width, 3], and the crop's width on it.

    The crop is scaled, bilinear, to the whole height with its aspect ratio kept; one that would leave less than `end`
    columns is squeezed. The rest, at the right, gets the value `fill`. PP-OCR pads with 0 after (x - 127.5) / 127.5:
    the pixel values 127 and 128 come nearest to that.
    """
    inner = min(width - end, math.ceil(height * (text.shape[1] / text.shape[0])))
    canvas = np.full((height, width, 3), fill, np.uint8)
    canvas[:, :inner] = cv2.resize(text, (inner, height), interpolation=cv2.INTER_LINEAR)
    return canvas, inner


def inset(quad: Floats, share: float) -> Floats:
    """A quad, float32 [4, 2], without that share of its height at the top and at the bottom."""
    top, bottom = quad[[0, 1]], quad[[3, 2]]
    (left_top, right_top), (left_bottom, right_bottom) = top + (bottom - top) * share, bottom + (top - bottom) * share
    return np.array([left_top, right_top, right_bottom, left_bottom], np.float32)


def cut(quad: Floats, spans: Floats) -> Floats:
    """Pieces of a quad from left to right: float32 [4, 2] and spans [n, 2] → quads float32 [n, 4, 2].

    A span is where a piece starts and ends along the quad's top and bottom sides, 0 their left end, 1 their right.
    """
    left, right = quad[[0, 3]], quad[[1, 2]]
    starts, ends = (left + (right - left) * part[:, None, None] for part in spans.T)
    return np.stack([starts[:, 0], ends[:, 0], ends[:, 1], starts[:, 1]], axis=1).astype(np.float32)

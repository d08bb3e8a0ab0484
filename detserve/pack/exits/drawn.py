"""Drawn: a picture of our own, on which every kind of model finds something."""

from __future__ import annotations

from pathlib import Path


def picture() -> bytes:
    """The JPEG that the demo's page starts with too, 960x540 pixels: four portraits, with names and a sign to read."""
    return Path(__file__).with_suffix(".jpg").read_bytes()


def depth() -> bytes:
    """A depth map for it as a PNG of 16 bits, in millimetres: four people a metre away before a wall at two metres."""
    import cv2
    import numpy as np

    wall = np.full((540, 960), 2000, np.uint16)
    for x, y, half in ((170, 270, 95), (420, 200, 75), (640, 300, 105), (850, 190, 62)):
        cv2.ellipse(wall, (x, y), (half, round(1.2 * half)), 0, 0, 360, 1000, -1)
    return cv2.imencode(".png", wall)[1].tobytes()

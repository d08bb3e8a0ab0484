"""Pages: pictures of print for the benchmarks of text, made from the page in the package scikit-image."""

from __future__ import annotations

import numpy as np

from detserve.bench.samples import QUALITY
from detserve.pack.weights import locate
from detserve.pictures.decode import decode


def page(width: int, height: int) -> bytes:
    """A JPEG of that size in pixels: the page scaled to the width, again and again until the height is full.

    The noise is a camera's: an enlargement alone would be too smooth and decode too fast.
    """
    import cv2

    rgb = decode(locate("package:skimage/data/page.png").read_bytes()).rgb
    small = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    scaled = cv2.resize(small, (width, round(width * small.shape[0] / small.shape[1])), interpolation=cv2.INTER_CUBIC)
    sheet = np.tile(scaled, (-(-height // len(scaled)), 1, 1))[:height].astype(np.float32)
    sheet += np.random.default_rng(1).normal(0, 3, sheet.shape).astype(np.float32)
    pixels = np.clip(sheet, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()

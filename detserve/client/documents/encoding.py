"""Encoding: pixels → the bytes of a picture that is sent."""

from __future__ import annotations

import cv2

from detserve.client.documents.page import DocumentError
from detserve.core.detections import Pixels

QUALITY = 92
"""Of the JPEGs that are sent, and lie in searchable PDFs."""
LONGEST = 65_500
"""Pixels of the longest side of a JPEG."""


def jpeg(bgr: Pixels) -> bytes:
    """uint8 [h, w, 3] BGR, or grey [h, w] → a JPEG. Raises DocumentError where a side is too long for one."""
    if max(bgr.shape[:2]) > LONGEST:
        raise DocumentError(f"{bgr.shape[1]}x{bgr.shape[0]} pixels are too long for a JPEG: a lower --dpi may help")
    well, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert well, "OpenCV encodes all that is no longer than a JPEG may be"
    return data.tobytes()

"""Drawn: a picture of our own, which every kind of model finds something to do on."""

from __future__ import annotations


def picture() -> bytes:
    """A JPEG of 640x480 pixels: a face as a child draws it, and a line of print below. The same bytes each time."""
    import cv2
    import numpy as np

    sheet = np.full((480, 640, 3), 235, np.uint8)
    skin, dark, lips = (150, 180, 225), (40, 40, 50), (90, 90, 190)
    cv2.ellipse(sheet, (320, 180), (110, 145), 0, 0, 360, skin, -1, cv2.LINE_AA)
    for x in (278, 362):
        cv2.ellipse(sheet, (x, 150), (20, 11), 0, 0, 360, (250, 250, 250), -1, cv2.LINE_AA)
        cv2.circle(sheet, (x, 150), 8, dark, -1, cv2.LINE_AA)
        cv2.ellipse(sheet, (x, 126), (26, 10), 0, 180, 360, dark, 5, cv2.LINE_AA)
    cv2.line(sheet, (320, 160), (312, 208), (110, 140, 190), 4, cv2.LINE_AA)
    cv2.ellipse(sheet, (320, 248), (42, 17), 0, 0, 180, lips, -1, cv2.LINE_AA)
    cv2.ellipse(sheet, (320, 96), (112, 70), 0, 180, 360, dark, -1, cv2.LINE_AA)
    cv2.putText(sheet, "A line of print", (70, 430), cv2.FONT_HERSHEY_SIMPLEX, 2.0, dark, 4, cv2.LINE_AA)
    return cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def depth() -> bytes:
    """A depth map for it as a PNG of 16 bits, in millimetres: a head half a metre away before a wall at two metres."""
    import cv2
    import numpy as np

    wall = np.full((480, 640), 2000, np.uint16)
    cv2.ellipse(wall, (320, 180), (110, 145), 0, 0, 360, 500, -1)
    return cv2.imencode(".png", wall)[1].tobytes()

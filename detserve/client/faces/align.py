"""Align: a face turned, scaled and moved until its landmarks lie where recognisers of faces want them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Pixels

Points = NDArray[np.float64]
"""[n, 2], x and y."""

ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
"""Where ArcFace (Deng et al., 2019) and most recognisers since have a face's landmarks on 112x112 pixels.

In the order of our answers: the subject's right eye, which lies left in the picture, left eye, nose, right and left
corner of the mouth.
"""
SIDE = 112


def similarity(source: Points, target: Points) -> NDArray[np.float64]:
    """The turn, scale and shift that brings points closest to others, [2, 3] for column vectors (x, y, 1).

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991, equations 34 to
    43. It never mirrors. Raises ValueError for points that all lie on one spot.
    """
    middle, aim = source.mean(axis=0), target.mean(axis=0)
    away, wanted = source - middle, target - aim
    variance = (away**2).sum(axis=1).mean()
    if not variance > 0:
        raise ValueError("the landmarks lie on one spot")
    u, d, vt = np.linalg.svd(wanted.T @ away / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    turn = u @ np.diag(signs) @ vt
    scale = (d * signs).sum() / variance
    return np.hstack([scale * turn, (aim - scale * turn @ middle)[:, None]])


def aligned(rgb: Pixels, landmarks: Sequence[float], side: int = SIDE) -> Pixels:
    """A face on a square of `side` pixels, uint8 [side, side, 3], its landmarks on ARCFACE's scaled to it.

    landmarks: x, y of the five in turn, in pixels of the picture. What lies outside the picture is black, and pixels
    are interpolated linearly, as recognisers were trained. Raises ValueError for landmarks that are no face's.
    """
    points = np.reshape(np.asarray(landmarks, np.float64), (-1, 2))
    if points.shape != ARCFACE.shape:
        raise ValueError(f"a face has five landmarks, not {len(points)}")
    matrix = similarity(points, ARCFACE * (side / SIDE))
    return np.asarray(cv2.warpAffine(rgb, matrix, (side, side), flags=cv2.INTER_LINEAR), np.uint8)

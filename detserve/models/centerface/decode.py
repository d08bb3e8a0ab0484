"""CenterFace: maps → faces, in numpy."""

from __future__ import annotations

import numpy as np

from detserve.core.detections import Detections, Floats
from detserve.models.centerface.layout import STRIDE


def decode(
    heatmap: Floats, scale: Floats, offset: Floats, landmarks: Floats, *, size: tuple[int, int], conf: float
) -> Detections:
    """The maps of one picture → a face for each cell above `conf`, in pixels of the input, in row-major order.

    heatmap [1, h, w], scale [2, h, w], offset [2, h, w], landmarks [10, h, w], float32; size: (width, height) of the
    input in pixels.

    The published decode: h, w = 4 exp(scale); x1, y1 clipped to the input; x2 = min(x1 + w, W), likewise y2; landmarks
    relative to the clipped x1, y1.
    """
    row, column = np.nonzero(heatmap[0] > conf)
    side = STRIDE * np.exp(scale[::-1, row, column])  # w, h
    centre = (np.stack([column, row]) + offset[::-1, row, column] + 0.5) * STRIDE
    limit = np.array(size, np.float32)[:, None]
    start = np.clip(centre - side / 2, 0, limit)
    end = np.minimum(start + side, limit)
    # Each landmark is a pair (y, x) in units of the box.
    points = landmarks[:, row, column].reshape(5, 2, -1)[:, ::-1] * side + start
    return Detections(
        boxes=np.concatenate([start, end]).T.astype(np.float32),
        scores=heatmap[0, row, column].astype(np.float32),
        keypoints=points.transpose(2, 0, 1).astype(np.float32),
    )

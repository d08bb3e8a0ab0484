"""CenterFace: maps → faces, in numpy."""

from __future__ import annotations

import numpy as np

from detserve.core.detections import Detections, Floats
from detserve.models.centerface.layout import STRIDE


def decode(heatmap: Floats, scale: Floats, offset: Floats, landmarks: Floats, *, conf: float) -> Detections:
    """The maps of one picture → a face for each cell above `conf`, in pixels of the input, in row-major order.

    heatmap [1, h, w], scale [2, h, w], offset [2, h, w], landmarks [10, h, w], float32. With S the stride the input
    has S w by S h pixels.

    The published decode: h, w = 4 exp(scale); x1, y1 clipped to the input; x2 = min(x1 + w, W), likewise y2; landmarks
    relative to the clipped x1, y1.
    """
    _, height, width = heatmap.shape
    scores = heatmap.ravel()
    cells = np.flatnonzero(scores > conf)
    if not len(cells):
        return Detections.empty(keypoints=5)
    # [c, h w] → [n, c]; the maps have y before x.
    scale, offset, points = (maps.reshape(len(maps), -1)[:, cells].T for maps in (scale, offset, landmarks))
    side = STRIDE * np.exp(scale[:, ::-1])  # w, h
    place = np.array(np.divmod(cells, width)[::-1]).T
    centre = (place + offset[:, ::-1] + 0.5) * STRIDE
    limit = np.array([width, height]) * STRIDE
    start = np.minimum(np.maximum(centre - side / 2, 0), limit)
    end = np.minimum(start + side, limit)
    # Each landmark is a pair (y, x) in units of the box.
    points = points.reshape(-1, 5, 2)[:, :, ::-1] * side[:, None] + start[:, None]
    return Detections(
        boxes=np.concatenate([start, end], axis=1, dtype=np.float32),
        scores=scores[cells],
        keypoints=points.astype(np.float32),
    )

"""Response: a result as JSON, in ratios of the picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from detserve.detections import Detections
from detserve.errors import RequestError

DIGITS = 6
"""Decimals of a ratio: finer than a hundredth of a pixel on any picture that is served."""


def _dumps() -> Callable[[Any], bytes]:
    try:
        import orjson
    except ImportError:  # A stock TorchServe has no orjson; an archive must run there all the same.
        return lambda value: json.dumps(value, separators=(",", ":")).encode()
    return orjson.dumps


dumps = _dumps()


def objects(found: Detections, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Detections in pixels of the upright picture of that (width, height) → one object each, in their order.

    `xywh_ratio` is [cx, cy, w, h], `landmarks_ratio` is x, y of each keypoint.
    """
    width, height = size
    start, end = found.boxes[:, :2].astype(np.float64), found.boxes[:, 2:].astype(np.float64)
    xywh = np.concatenate([(start + end) / 2, end - start], axis=1) / (width, height, width, height)
    columns: dict[str, list[Any]] = {
        "xywh_ratio": xywh.round(DIGITS).tolist(),
        "conf": np.clip(found.scores, 0, 1).astype(np.float64).round(DIGITS).tolist(),
    }
    if found.keypoints is not None:
        points = found.keypoints.astype(np.float64) / size
        columns["landmarks_ratio"] = points.reshape(len(found), 2 * points.shape[1]).round(DIGITS).tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def body(outcome: Detections | RequestError, size: tuple[int, int] | None) -> bytes:
    """The JSON bytes of one answer: a list of objects, or an error with its code, type and message."""
    if isinstance(outcome, RequestError):
        return dumps({"code": outcome.status, "type": outcome.type, "message": str(outcome)})
    assert size is not None, "detections are in pixels of a picture, whose size is known"
    return dumps(objects(outcome, size))

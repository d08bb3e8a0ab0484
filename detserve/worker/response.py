"""Response: a result as JSON, in ratios of the picture."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from detserve.core.detections import Detections, Floats
from detserve.errors import RequestError
from detserve.worker import masks
from detserve.worker.pipeline import Result

DIGITS = 6
"""Decimals of a ratio: finer than a hundredth of a pixel on any picture that is served."""


def _dumps() -> Callable[[Any], bytes]:
    try:
        import orjson
    except ImportError:  # A stock TorchServe has no orjson; an archive must run there all the same.
        return lambda value: json.dumps(value, separators=(",", ":")).encode()
    return orjson.dumps


dumps = _dumps()


def objects(found: Detections, size: tuple[int, int], form: str = "rle") -> list[dict[str, Any]]:
    """Detections in pixels of the upright picture of that (width, height) → one object each, in their order.

    `xywh_ratio` is [cx, cy, w, h]; `landmarks_ratio`, `quad_ratio`, `polygon_ratio` and each of `polygons_ratio` are
    x, y of each point in turn; all in ratios of the picture's width and height. form: of masks, an option of the
    request.
    """
    corners = found.boxes.reshape(-1, 2, 2).astype(np.float64)
    xywh = np.concatenate([corners.mean(axis=1), corners[:, 1] - corners[:, 0]], axis=1) / (*size, *size)
    columns: dict[str, list[Any]] = {
        "xywh_ratio": xywh.round(DIGITS).tolist(),
        "conf": _confidences(found.scores),
    }
    if found.keypoints is not None:
        columns["landmarks_ratio"] = [_ratios(points, size) for points in found.keypoints]
    if found.quads is not None:
        columns["quad_ratio"] = [_ratios(quad, size) for quad in found.quads]
    if found.texts is not None and found.text_scores is not None:
        columns["text"] = list(found.texts)
        columns["text_conf"] = _confidences(found.text_scores)
    if found.labels is not None and found.label_ids is not None:
        columns |= {"label": list(found.labels), "label_id": found.label_ids.tolist()}
    if found.masks is not None and form != "none":
        cuts = (found.masks.cut(i, size) for i in range(len(found)))
        if form == "polygon":
            columns["polygons_ratio"] = [[_ratios(each, size) for each in masks.outlines(cut)] for cut in cuts]
        else:
            columns["mask_rle"] = [masks.rle(cut, size) for cut in cuts]
    answer = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for each, polygon in zip(answer, found.polygons or (), strict=False):
        if polygon is not None:
            each["polygon_ratio"] = _ratios(polygon, size)
    return answer


def _ratios(points: Floats, size: tuple[int, int]) -> list[float]:
    ratios: list[float] = (points.astype(np.float64) / size).round(DIGITS).ravel().tolist()
    return ratios


def _confidences(scores: Floats) -> list[float]:
    confidences: list[float] = np.clip(scores, 0, 1).astype(np.float64).round(DIGITS).tolist()
    return confidences


def content(result: Result) -> Any:
    """The answer for one picture: a list of objects, or an error with its code, type and message.

    With score maps it is an object of `detections`, that list, and `maps`: name → a grey PNG in base64.
    """
    outcome = result.outcome
    if isinstance(outcome, RequestError):
        return {"code": outcome.status, "type": outcome.type, "message": str(outcome)}
    assert result.size is not None, "detections are in pixels of a picture, whose size is known"
    answer = objects(outcome, result.size, result.masks)
    if result.maps is None:
        return answer
    return {"detections": answer, "maps": {name: _png(scores) for name, scores in result.maps.items()}}


def body(result: Result) -> bytes:
    """`content` as JSON bytes."""
    return dumps(content(result))


def _png(scores: Floats) -> str:
    import cv2

    grey = (scores.clip(0, 1) * 255).astype(np.uint8)
    return base64.b64encode(cv2.imencode(".png", grey)[1].tobytes()).decode()

"""Supervised: what was found as Detections of the package supervision, for its drawings, trackers and zones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detserve.client.shapes import Face, Object, Text

if TYPE_CHECKING:
    import supervision


def detections(kind: type[Face | Text | Object], items: Sequence[Any]) -> supervision.Detections:
    """Boxes in pixels, confidences, class numbers, masks; `data` has what else there is, an array a key.

    Every key is there where nothing was found, too: class_name; of faces landmarks [n, 5, 2], of texts quad [n, 4, 2],
    text, and text_conf, NaN where nobody read. Only where a model gives them: polygon, arrays [k, 2], and masks.
    """
    import supervision

    n = len(items)
    class_ids, names = np.zeros(n, np.int64), np.full(n, kind.__name__.lower())
    data: dict[str, Any] = {"class_name": names}
    masks = None
    if kind is Face and all(item.landmarks for item in items):
        data["landmarks"] = np.array([item.landmarks for item in items], np.float32).reshape(n, 5, 2)
    if kind is Text:
        data["quad"] = np.array([item.quad for item in items], np.float32).reshape(n, 4, 2)
        data["text"] = np.array([item.text or "" for item in items], np.str_)
        data["text_conf"] = np.array([item.text_conf for item in items], np.float32)
        if n and all(item.polygon for item in items):
            data["polygon"] = _ragged([np.array(item.polygon, np.float32) for item in items])
    if kind is Object:
        class_ids = np.array([item.label_id for item in items], np.int64)
        data["class_name"] = np.array([item.label for item in items], np.str_)
        if n and all(item.mask for item in items):
            masks = np.stack([item.mask.pixels() for item in items])
    return supervision.Detections(
        xyxy=np.array([item.box.xyxy for item in items], np.float32).reshape(n, 4),
        confidence=np.array([item.conf for item in items], np.float32),
        class_id=class_ids,
        mask=masks,
        data=data,
    )


def _ragged(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.object_]:
    """An array of arrays, whatever their lengths."""
    held = np.empty(len(arrays), np.object_)
    for i, array in enumerate(arrays):
        held[i] = array
    return held

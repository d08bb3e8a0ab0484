"""Supervised: what was found as Detections of the package supervision, for its drawings, trackers and zones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from detserve.client.shapes import Face, Object, Text

if TYPE_CHECKING:
    import supervision


def detections(items: Sequence[Any]) -> supervision.Detections:
    """Boxes in pixels, confidences, class numbers, masks; `data` has what else there is, an array a key."""
    import supervision

    if not items:
        return supervision.Detections.empty()
    data: dict[str, Any] = {}
    masks = class_ids = None
    if all(isinstance(item, Face) and item.landmarks for item in items):
        data["landmarks"] = np.array([item.landmarks for item in items], np.float32)
    if all(isinstance(item, Text) for item in items):
        data["quad"] = np.array([item.quad for item in items], np.float32)
        data["text"] = np.array([item.text or "" for item in items])
    if all(isinstance(item, Object) for item in items):
        class_ids = np.array([item.label_id for item in items])
        data["class_name"] = np.array([item.label for item in items])
        if all(item.mask for item in items):
            masks = np.stack([item.mask.pixels() for item in items])
    return supervision.Detections(
        xyxy=np.array([item.box.xyxy for item in items], np.float32),
        confidence=np.array([item.conf for item in items], np.float32),
        class_id=class_ids,
        mask=masks,
        data=data,
    )

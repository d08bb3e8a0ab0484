"""Detections: what a model found in one picture, as a frozen struct of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detserve.core.masks import Masks

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Detections:
    """n detections in one picture, in pixels of one frame (letterbox or picture), x to the right, y down.

    boxes:       float32 [n, 4], corners x1, y1, x2, y2 with x1 <= x2 and y1 <= y2
    scores:      float32 [n], confidence from 0 to 1
    keypoints:   float32 [n, k, 2] points x, y
    quads:       float32 [n, 4, 2] corners x, y, clockwise from the text's top left
    polygons:    n outlines, each float32 [k, 2], or None for a detection that has only its quad
    texts:       n strings, with
    text_scores: float32 [n], confidence of the reading from 0 to 1
    labels:      n names of classes, with
    label_ids:   int64 [n], their numbers
    masks:       n soft masks, in the same frame

    All but boxes and scores are None for models that do not give them. Raises ValueError for arrays of another shape
    or dtype.
    Indexing with an index array, a mask or a slice gives new Detections.
    """

    boxes: Floats
    scores: Floats
    keypoints: Floats | None = None
    quads: Floats | None = None
    polygons: tuple[Floats | None, ...] | None = None
    texts: tuple[str, ...] | None = None
    text_scores: Floats | None = None
    labels: tuple[str, ...] | None = None
    label_ids: NDArray[np.int64] | None = None
    masks: Masks | None = None

    def __post_init__(self) -> None:
        n = len(self.scores)
        _check("boxes", self.boxes, (n, 4))
        _check("scores", self.scores, (n,))
        _check("keypoints", self.keypoints, (n, None, 2))
        _check("quads", self.quads, (n, 4, 2))
        _check("text_scores", self.text_scores, (n,))
        _check("label_ids", self.label_ids, (n,), np.int64)
        for name in ("polygons", "texts", "labels", "masks"):
            items = getattr(self, name)
            if items is not None and len(items) != n:
                raise ValueError(f"there must be {n} {name}, not {len(items)}")
        if (self.texts is None) != (self.text_scores is None):
            raise ValueError("texts and text_scores come together")
        if (self.labels is None) != (self.label_ids is None):
            raise ValueError("labels and label_ids come together")

    @classmethod
    def empty(cls, keypoints: int = 0) -> Detections:
        """No detections, of a model with that many keypoints for each (0: a model without keypoints)."""
        points = np.empty((0, keypoints, 2), np.float32) if keypoints else None
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), points)

    @classmethod
    def of_quads(cls, quads: Floats, scores: Floats, polygons: Sequence[Floats | None] | None = None) -> Detections:
        """Detections from quads, float32 [n, 4, 2]; each box is the smallest upright one around its quad."""
        boxes = np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1)
        return cls(boxes, scores, quads=quads, polygons=None if polygons is None else tuple(polygons))

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> Detections:
        """The detections that an index array, a mask or a slice selects, in its order."""
        rows = np.arange(len(self))[index]
        chosen: dict[str, Any] = {}
        for name, values in vars(self).items():
            if isinstance(values, tuple):
                chosen[name] = tuple(values[row] for row in rows)
            elif values is not None:
                chosen[name] = values[rows]
        return Detections(**chosen)


def _check(name: str, array: NDArray[Any] | None, shape: tuple[int | None, ...], kind: type = np.float32) -> None:
    if array is None:
        return
    fits = len(array.shape) == len(shape) and all(w in (None, h) for w, h in zip(shape, array.shape, strict=True))
    if not fits or array.dtype != kind:
        wanted = ", ".join("k" if side is None else str(side) for side in shape)
        raise ValueError(f"{name} must be {kind.__name__} [{wanted}], not {array.dtype} {list(array.shape)}")

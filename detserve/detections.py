"""Detections: what a model found in one picture, as a frozen struct of arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Detections:
    """n detections in one picture, in pixels of one frame (letterbox or picture), x to the right, y down.

    boxes:     float32 [n, 4], corners x1, y1, x2, y2 with x1 <= x2 and y1 <= y2
    scores:    float32 [n], confidence from 0 to 1
    keypoints: float32 [n, k, 2] points x, y, or None for a model without

    Raises ValueError when the arrays do not fit each other. Indexing with an index array, a mask or a slice
    gives new Detections.
    """

    boxes: Floats
    scores: Floats
    keypoints: Floats | None = None

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.scores.shape != (n,) or self.scores.dtype != np.float32:
            raise ValueError(f"scores must be float32 [n], not {self.scores.dtype} {self.scores.shape}")
        if self.boxes.shape != (n, 4) or self.boxes.dtype != np.float32:
            raise ValueError(f"boxes must be float32 [{n}, 4], not {self.boxes.dtype} {self.boxes.shape}")
        points = self.keypoints
        if points is not None and (
            points.ndim != 3 or len(points) != n or points.shape[2] != 2 or points.dtype != np.float32
        ):
            raise ValueError(f"keypoints must be float32 [{n}, k, 2], not {points.dtype} {points.shape}")

    @classmethod
    def empty(cls, keypoints: int = 0) -> Detections:
        """No detections, of a model with that many keypoints (0: a model without)."""
        points = np.empty((0, keypoints, 2), np.float32) if keypoints else None
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), points)

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> Detections:
        """The detections that an index array, a mask or a slice selects, in its order."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: a[index] for name, a in arrays.items() if a is not None})

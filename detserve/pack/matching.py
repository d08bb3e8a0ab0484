"""Matching: the detections of a network compared with those of its engine, pair by pair. Both gates use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from detserve.core.detections import Detections, Floats
from detserve.core.geometry import iou, nms
from detserve.errors import EngineRejected
from detserve.models.spec import DetectorSpec, Outputs

CONF = 0.3
"""Detections of at least this confidence are compared."""


@dataclass(frozen=True)
class Figures:
    """What a gate measured."""

    def to_dict(self) -> Mapping[str, Any]:
        """The figures as they are stored in an archive, rounded so that they read well."""
        return {
            key: float(f"{value:.3g}") if isinstance(value, float) else value for key, value in asdict(self).items()
        }


def detect(spec: DetectorSpec, outputs: Outputs, n: int, conf: float) -> list[Detections]:
    """The detections of each of n pictures above `conf`, after NMS, in pixels of the input."""
    return [found[nms(found.boxes, found.scores, spec.iou)] for found in spec.decode(outputs, [conf] * n)]


def match(mine: Detections, others: Detections, conf: float, same_iou: float) -> Floats:
    """Compare each detection of one side that has at least that confidence with the nearest one of the other side.

    same_iou: the least IoU of two boxes that are the same detection. → float32 [n, 3]: the IoU, the difference of the
    confidences, and the largest distance of two keypoints relative to the box's diagonal; NaN without a counterpart.
    """
    mine = mine[mine.scores >= conf]
    rows = np.full((len(mine), 3), np.nan, np.float32)
    if len(others) == 0:
        return rows
    overlap = iou(mine.boxes, others.boxes)
    nearest = others[overlap.argmax(axis=1)]
    best = overlap.max(axis=1)
    rows[:, 0], rows[:, 1], rows[:, 2] = best, np.abs(mine.scores - nearest.scores), 0
    if mine.keypoints is not None and nearest.keypoints is not None:
        diagonal = np.linalg.norm(mine.boxes[:, 2:] - mine.boxes[:, :2], axis=1)
        rows[:, 2] = np.linalg.norm(mine.keypoints - nearest.keypoints, axis=2).max(axis=1) / diagonal
    rows[best < same_iou] = np.nan
    return rows


def is_matched(rows: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows of `match` have a counterpart: bool [n]."""
    return ~np.isnan(rows[:, 0])


def reject(faults: Sequence[str], advice: str) -> None:
    """Raise EngineRejected where there are faults; advice: what to try."""
    if faults:
        raise EngineRejected(
            f"the engine disagrees with the network: {'; '.join(faults)}; nothing was written; try {advice}"
        )

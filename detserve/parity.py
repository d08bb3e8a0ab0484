"""Parity: whether an engine still finds what its network finds. The gate that every archive passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detserve.backends.base import Backend
from detserve.detections import Detections
from detserve.errors import EngineRejected
from detserve.geometry import iou, nms
from detserve.images import decode
from detserve.letterbox import Letterbox, Pixels
from detserve.networks.preprocess import Preprocessed
from detserve.spec import ModelSpec, Outputs

CONF = 0.3
"""Detections above this confidence are compared."""


@dataclass(frozen=True)
class Bounds:
    """How far an engine may be off: raw outputs relative to their largest value, boxes by IoU, confidences."""

    raw: float
    iou: float
    conf: float


EXACT = Bounds(raw=1e-3, iou=0.99, conf=0.005)
REDUCED = Bounds(raw=float("inf"), iou=0.95, conf=0.02)
"""For engines that compute in 16 bits somewhere: their raw maps may differ where nothing is detected."""


@dataclass(frozen=True)
class Parity:
    """An engine against its network in eager fp32, over batches of several sizes of one real picture.

    raw: largest difference of any output relative to that output's largest value; detections: how many the network
    finds on the picture; unmatched: detections of either side that the other lacks; iou: the least overlap of a
    matched pair; conf: the largest difference of their confidences.
    """

    raw: float
    detections: int
    unmatched: int
    iou: float
    conf: float

    def to_dict(self) -> Mapping[str, Any]:
        """The figures as they are stored in an archive, rounded so that they read well."""
        return {
            key: float(f"{value:.3g}") if isinstance(value, float) else value for key, value in asdict(self).items()
        }

    def check(self, bounds: Bounds) -> None:
        """Raise EngineRejected when a figure is out of bounds, naming it."""
        faults = []
        if not self.raw <= bounds.raw:  # Also when it is not a number.
            faults.append(f"raw outputs differ by {self.raw:.2g} of their range (allowed {bounds.raw:g})")
        if self.unmatched:
            faults.append(f"{self.unmatched} of {self.detections} detections have no counterpart")
        if self.iou < bounds.iou:
            faults.append(f"a box overlaps its counterpart by IoU {self.iou:.3f} only (wanted {bounds.iou})")
        if self.conf > bounds.conf:
            faults.append(f"a confidence differs by {self.conf:.3f} (allowed {bounds.conf})")
        if faults:
            raise EngineRejected(
                f"the engine disagrees with the network: {'; '.join(faults)}; nothing was written; "
                "try --precision fp32 or another --backend"
            )


def measure(network: Preprocessed, engine: Backend, picture: bytes, max_batch: int) -> Parity:
    """Run both on a real picture and its mirror image, in batches of 1, of the largest size and of one more."""
    import torch

    spec = network.spec
    image = decode(picture)
    canvas = np.empty((spec.size[1], spec.size[0], 3), np.uint8)
    Letterbox.fit(image.size, spec.size).apply(image.rgb, canvas, spec.fill)
    pair = np.stack([canvas, canvas[:, ::-1]])
    with torch.inference_mode():
        outputs = network(torch.from_numpy(pair))
    reference = dict(zip(spec.outputs, (output.numpy() for output in outputs), strict=True))
    figures = [_compare(spec, reference, engine, pair, n) for n in sorted({1, max_batch, max_batch + 1})]
    return Parity(
        raw=max(f.raw for f in figures),
        detections=figures[-1].detections,
        unmatched=max(f.unmatched for f in figures),
        iou=min(f.iou for f in figures),
        conf=max(f.conf for f in figures),
    )


def _compare(spec: ModelSpec, reference: Outputs, engine: Backend, pair: Pixels, n: int) -> Parity:
    """One batch of n pictures, the picture and its mirror image in turn."""
    turn = np.arange(n) % 2
    got = engine(pair[turn])
    raw = max(_relative(got[name], reference[name][turn]) for name in spec.outputs)
    wanted, found = _detect(spec, reference, 2), _detect(spec, got, n)
    pairs = [_match(wanted[k], detections) for k, detections in zip(turn, found, strict=True)]
    return Parity(
        raw=raw,
        detections=len(wanted[0]),
        unmatched=sum(unmatched for unmatched, _, _ in pairs),
        iou=min(overlap for _, overlap, _ in pairs),
        conf=max(difference for _, _, difference in pairs),
    )


def _relative(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def _detect(spec: ModelSpec, outputs: Outputs, n: int) -> list[Detections]:
    return [d[nms(d.boxes, d.scores, spec.iou)] for d in spec.decode(outputs, [CONF - 2 * REDUCED.conf] * n)]


def _match(wanted: Detections, found: Detections) -> tuple[int, float, float]:
    """Each detection above CONF on one side against the nearest of the other, which may lie a little below it.

    → how many have none, least IoU of the pairs, largest difference of their confidences.
    """
    unmatched, overlaps, differences = 0, [1.0], [0.0]
    for mine, others in ((wanted, found), (found, wanted)):
        for box, score in zip(mine.boxes, mine.scores, strict=True):
            if score < CONF:
                continue
            overlap = iou(box[None], others.boxes)[0] if len(others) else np.zeros(1, np.float32)
            nearest = int(overlap.argmax())
            if overlap[nearest] < 0.5:
                unmatched += 1
                continue
            overlaps.append(float(overlap[nearest]))
            differences.append(abs(float(score - others.scores[nearest])))
    return unmatched, min(overlaps), max(differences)

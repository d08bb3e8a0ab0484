"""Parity: whether an engine still finds what its network finds. The gate of every engine that is not in int8."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Detections, Pixels
from detserve.core.geometry import nms
from detserve.core.letterbox import Letterbox
from detserve.engines.base import Engine, EnginePlan
from detserve.engines.sources.base import Source
from detserve.models.spec import DetectorSpec, Outputs, ReaderSpec
from detserve.options import Options
from detserve.pack.matching import CONF, Figures, detect, is_matched, match, reject
from detserve.pictures.decode import decode
from detserve.worker.detector import Canvases, Detector, Raw

SAME_IOU = 0.5
"""The least IoU of two boxes that are the same detection."""

LINES = ((3, 9, 296, 36), (2, 45, 379, 68), (1, 62, 380, 87))
"""Where the first lines of scikit-image's page lie: x1, y1, x2, y2 in its pixels."""


@dataclass(frozen=True)
class Bounds:
    """How far an engine may be off, see `Parity`."""

    raw: float
    iou: float
    conf: float
    points: float


EXACT = Bounds(raw=1e-3, iou=0.99, conf=0.005, points=0.005)
REDUCED = Bounds(raw=float("inf"), iou=0.95, conf=0.02, points=0.03)
"""For engines that compute in 16 bits somewhere: their raw maps may differ where nothing is detected."""
REDUCED_TEXT = Bounds(raw=float("inf"), iou=0.85, conf=0.05, points=0)
"""The same for text: its boxes are drawn around pixels above a threshold, and a line is only a few pixels high."""


def bounds(precision: str, task: str) -> Bounds:
    """The bounds for an engine of that precision and a model of that task."""
    if precision == "fp32":
        return EXACT
    return REDUCED if task == "face" else REDUCED_TEXT


@dataclass(frozen=True)
class Parity(Figures):
    """An engine against its source in fp32, over batches of several sizes of one real picture.

    raw: the largest difference of any output relative to that output's largest value; detections: how many the network
    finds on the picture; unmatched: the detections of either side that the other lacks; iou: the least overlap of a
    matched pair; conf: the largest difference of their confidences; points: the largest distance between their
    keypoints, relative to the box's diagonal.

    For a reader, detections are lines, and a line is unmatched when the two texts differ.
    """

    raw: float
    detections: int
    unmatched: int
    iou: float = 1.0
    conf: float = 0.0
    points: float = 0.0

    def check(self, bounds: Bounds) -> None:
        """Raise EngineRejected when a figure is out of bounds, naming it."""
        faults = []
        if not np.isfinite(self.raw):
            faults.append("its outputs are not finite")
        elif self.raw > bounds.raw:
            faults.append(f"raw outputs differ by {self.raw:.2g} of their range (allowed {bounds.raw:g})")
        if self.unmatched:
            faults.append(f"{self.unmatched} of {self.detections} detections have no counterpart")
        if self.iou < bounds.iou:
            faults.append(f"a box overlaps its counterpart by IoU {self.iou:.3f} only (wanted {bounds.iou})")
        if self.conf > bounds.conf:
            faults.append(f"a confidence differs by {self.conf:.3f} (allowed {bounds.conf})")
        if self.points > bounds.points:
            faults.append(f"a keypoint lies {self.points:.3f} of its box off (allowed {bounds.points})")
        reject(faults, "--precision fp32 or another --backend")


def batch_sizes(plan: EnginePlan) -> list[int]:
    """The batches that an engine is checked with: one, the one it is fastest at, the largest, and two more.

    These are the largest prime below the largest batch, and one above it, which is split.
    """
    primes = [n for n in range(2, plan.max_batch) if all(n % divisor for divisor in range(2, n))]
    return sorted({1, *primes[-1:], plan.opt_batch, plan.max_batch, plan.max_batch + 1})


def measure(source: Source, engine: Engine, picture: bytes, plan: EnginePlan) -> Parity:
    """Run both on a real picture for the model's task, in batches of several sizes; a reader on the lines in it.

    picture: its bytes.
    """
    spec, image = source.spec, decode(picture)
    if isinstance(spec, ReaderSpec):
        lines = [image.rgb[y1:y2, x1:x2] for x1, y1, x2, y2 in LINES]
        alone = [_compare_reading(spec, source, engine, [line], [1]) for line in lines]
        return _worst([*alone, _compare_reading(spec, source, engine, lines, batch_sizes(plan))])
    assert isinstance(spec, DetectorSpec), f"{spec.name} neither reads nor detects"
    several = not spec.dynamic and len(spec.sizes) > 1
    placed = [Letterbox.fit(image.size, size) for size in spec.sizes] if several else [spec.letterbox(image.size)]
    figures = []
    for letterbox in placed:
        canvas = letterbox.drawn_on_new_canvas(image.rgb, spec.fill)
        # Print is never mirrored: networks are unsure of it, and lines fall to pieces in one precision and not in
        # another.
        pair = np.stack([canvas, canvas[::-1, ::-1] if spec.task == "text" else canvas[:, ::-1]])
        reference = source.reference(pair)
        # When they are served, inputs of varying size run one by one.
        batches = batch_sizes(plan) if spec.one_size else [1, 2]
        figures += [_compare(spec, reference, engine, pair, n) for n in batches]
    return _worst(figures)


def measure_detector(engine: Engine, detector: Detector[Canvases, Raw], picture: bytes, plan: EnginePlan) -> Parity:
    """What the GPU's detector finds beside what its engine says, in several batches: head, suppression, graphs.

    The engine's outputs are decoded and suppressed on the processor; the engine itself was compared before.
    """
    spec, image = detector.spec, decode(picture)
    assert isinstance(spec, DetectorSpec), f"{spec.name} does not detect"
    canvas = spec.letterbox(image.size).drawn_on_new_canvas(image.rgb, spec.fill)
    pair, as_it_is = np.stack([canvas, canvas[:, ::-1]]), Letterbox.fit(spec.size, spec.size)
    nearly = CONF - 2 * REDUCED.conf
    asked = Options(conf_threshold=nearly, iou_threshold=spec.iou, max_detections=spec.max_detections)
    figures = []
    for n in batch_sizes(plan):
        pictures = pair[np.arange(n) % 2]
        canvases = detector.canvases(n, spec.size)
        for i, rgb in enumerate(pictures):
            detector.draw(rgb, as_it_is, canvases[i])
        found = detector.found(detector.infer(canvases, [asked] * n), [asked] * n)
        wanted = detect(spec, engine(pictures), n, nearly)
        # Both are suppressed already, which is compared as well.
        figures += [_of_picture(0.0, 1.0, a, b) for a, b in zip(wanted, found, strict=True)]
    return _worst(figures)


def _compare_reading(spec: ReaderSpec, source: Source, engine: Engine, lines: list[Pixels], sizes: list[int]) -> Parity:
    """The lines in turn, all at the width of the widest, in batches of those sizes."""
    width = max(spec.width(line.shape[1] / line.shape[0]) for line in lines)
    canvases = np.stack([spec.place(line, width)[0] for line in lines])
    reference = source.reference(canvases)
    wanted = spec.read(reference)
    figures = []
    for n in sizes:
        turn = np.arange(n) % len(lines)
        got = engine(canvases[turn])
        raw = max((_relative(got[name], reference[name][turn]) for name in spec.outputs), key=_nan_is_worst)
        for mine, other in zip((wanted[i] for i in turn), spec.read(got), strict=True):
            conf = abs(mine.confidence - other.confidence)
            figures.append(Parity(raw, len(lines), int(mine.text != other.text), conf=conf))
    return _worst(figures)


def _compare(spec: DetectorSpec, reference: Outputs, engine: Engine, pair: Pixels, n: int) -> Parity:
    """One batch of n pictures, the two in turn."""
    turn = np.arange(n) % 2
    got = engine(pair[turn])
    raw = max((_relative(got[name], reference[name][turn]) for name in spec.outputs), key=_nan_is_worst)
    nearly = CONF - 2 * REDUCED.conf  # a counterpart may lie a little below
    wanted, found = spec.decode(reference, [nearly] * 2), spec.decode(got, [nearly] * n)
    return _worst([_of_picture(raw, spec.iou, wanted[k], other) for k, other in zip(turn, found, strict=True)])


def _worst(figures: list[Parity]) -> Parity:
    return Parity(
        raw=max((f.raw for f in figures), key=_nan_is_worst),
        detections=max(f.detections for f in figures),
        unmatched=max(f.unmatched for f in figures),
        iou=min(f.iou for f in figures),
        conf=max(f.conf for f in figures),
        points=max(f.points for f in figures),
    )


def _nan_is_worst(value: float) -> float:
    return np.inf if np.isnan(value) else value


def _relative(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    scale = np.abs(wanted).max() or 1.0  # a reader that finds none of its letters there answers zeros
    return float(np.abs(got - wanted).max() / scale)


def _of_picture(raw: float, threshold: float, wanted: Detections, found: Detections) -> Parity:
    """Each detection above CONF that is kept on one side, compared with the nearest candidate on the other side.

    With the nearest that is kept it would not do: of two cells that are nearly as sure of the same face, suppression
    keeps one, and the rounding of 16 bits decides which. threshold: of suppression, an IoU.
    """
    kept, others = (each[nms(each.boxes, each.scores, threshold)] for each in (wanted, found))
    rows = np.concatenate([match(kept, found, CONF, SAME_IOU), match(others, wanted, CONF, SAME_IOU)])
    pairs = rows[is_matched(rows)]
    figures = Parity(raw, int((kept.scores >= CONF).sum()), len(rows) - len(pairs))
    if not len(pairs):
        return figures
    overlap, conf, points = (float(value) for value in (pairs[:, 0].min(), pairs[:, 1].max(), pairs[:, 2].max()))
    return replace(figures, iou=overlap, conf=conf, points=points)

"""Milliseconds of processor time of one picture of md1 on every backend, by size, how often as fast as eager, and where
they go: into the networks by their names, and into what lies between them.

.venv/bin/python -m benchmarks.objects [MODEL [WEIGHTS]]    without WEIGHTS made-up ones, see benchmarks/fill_objects.py
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmarks.fill_objects import fill
from detserve import engines, models
from detserve.core.detections import Pixels
from detserve.engines.base import Device, EnginePlan
from detserve.engines.parts import PartedEngines, PartedSource
from detserve.models.maskrcnn import MaskRcnn
from detserve.models.parts import Wish
from detserve.pack.object_parity import canvases
from detserve.pack.packer import GATE_PICTURES
from detserve.pack.weights import locate

if TYPE_CHECKING:
    from detserve.models.parts import Run

SIZES = (416, 800)
ROUNDS = 3
OBJECTS = 10
"""Each has a run of the mask head; made-up weights would find a hundred."""


class Clock:
    """The networks of one backend, and the milliseconds of processor time that each took, a value a picture."""

    def __init__(self, parts: PartedEngines) -> None:
        self.run = {name: self._timed(name, network) for name, network in parts.run.items()}
        self.pictures: list[defaultdict[str, float]] = []

    def detect(self, spec: MaskRcnn, canvas: Pixels, wish: Wish) -> None:
        """One picture."""
        self.pictures.append(defaultdict(float))
        start = time.process_time()  # what others do on the machine does not count
        spec.detect(self.run, canvas, wish)
        whole = (time.process_time() - start) * 1000
        self.pictures[-1]["between"] = whole - sum(self.pictures[-1].values())
        self.pictures[-1]["all"] = whole

    def median(self, part: str) -> float:
        """Of all pictures but the first, which has the shapes prepared."""
        return statistics.median(each[part] for each in self.pictures[1:])

    def _timed(self, name: str, network: Run) -> Run:
        def run(x: Tensor) -> Sequence[Tensor]:
            start = time.process_time()
            found = network(x)
            self.pictures[-1][name] += (time.process_time() - start) * 1000
            return found

        return run


def measure(spec: MaskRcnn, source: PartedSource, folder: Path) -> tuple[str, dict[str, Clock]]:
    """The input's size, and the clock of each backend; they take turns."""
    clocks = {}
    for backend in engines.available():
        adapter = engines.find(backend)
        for precision in ("fp32", *(["auto"] if "auto" in adapter.precisions else [])):
            plan, place = EnginePlan(precision=precision, max_batch=1), folder / backend / precision
            source.build(adapter, plan, place)
            clocks[f"{backend} {precision}"] = Clock(PartedEngines(adapter, place, spec, plan, Device(threads=1)))
    canvas = canvases(spec, locate(GATE_PICTURES[spec.task]).read_bytes())[0]
    wish = Wish(conf=0.0, iou=spec.iou, most=OBJECTS)
    for _ in range(ROUNDS + 1):
        for clock in clocks.values():
            clock.detect(spec, canvas, wish)
    return f"{canvas.shape[1]}x{canvas.shape[0]}", clocks


def main() -> None:
    """Print a line for each size."""
    name = sys.argv[1] if len(sys.argv) > 1 else "maskrcnn-r50-fpn"
    known = models.find(name)
    if not isinstance(known, MaskRcnn):
        sys.exit(f"{name} is no Mask R-CNN")
    print(f"{name}, one thread, {OBJECTS} objects, median of {ROUNDS} rounds, ms of processor time a picture")
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(scratch, "weights.pth")
        if len(sys.argv) <= 2:
            torch.save(fill(known), weights)
        for size in SIZES:
            spec = known.override(min_size=size)
            canvas, clocks = measure(spec, PartedSource(spec, weights), Path(scratch, str(size)))
            print(f"shorter side {size}, input {canvas}", flush=True)
            eager = clocks["eager fp32"].median("all")
            for backend, clock in clocks.items():
                parts = "  ".join(f"{part} {clock.median(part):.0f}" for part in (*clock.run, "between"))
                whole = clock.median("all")
                print(f"  {backend:16} {whole:5.0f} ({eager / whole:.2f}x)  {parts}", flush=True)


if __name__ == "__main__":
    main()

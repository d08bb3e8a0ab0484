"""Milliseconds of one picture of md1 on every backend of this machine, by the size of the input.

.venv/bin/python -m benchmarks.objects [MODEL [WEIGHTS]]    without WEIGHTS made-up ones, see benchmarks/fill_objects.py
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.fill_objects import fill
from detserve import engines, models
from detserve.engines.base import Device, EnginePlan
from detserve.engines.parts import PartedEngines, PartedSource
from detserve.models.maskrcnn import MaskRcnn
from detserve.models.parts import Wish
from detserve.pack.object_parity import canvases
from detserve.pack.packer import GATE_PICTURES
from detserve.pack.weights import locate

SIZES = (256, 416, 800)
ROUNDS = 5
OBJECTS = 10
"""Each has a run of the mask head; made-up weights would find a hundred."""


def milliseconds(spec: MaskRcnn, source: PartedSource, folder: Path) -> tuple[str, dict[str, float]]:
    """The input's size, and the median of each backend; timed in turn, so that a slow moment hits all alike."""
    plan, built = EnginePlan(precision="fp32", max_batch=1), {}
    for backend in engines.available():
        source.build(engines.find(backend), plan, folder / backend)
        built[backend] = PartedEngines(engines.find(backend), folder / backend, spec, plan, Device(threads=1))
    canvas = canvases(spec, locate(GATE_PICTURES[spec.task]).read_bytes())[0]
    wish = Wish(conf=0.0, iou=spec.iou, most=OBJECTS)
    times: dict[str, list[float]] = {backend: [] for backend in built}
    for turn in range(ROUNDS + 1):
        for backend, parts in built.items():
            start = time.perf_counter()
            spec.detect(parts.run, canvas, wish)
            if turn:  # the first has the shapes prepared
                times[backend].append((time.perf_counter() - start) * 1000)
    return f"{canvas.shape[1]}x{canvas.shape[0]}", {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    """Print a line for each size."""
    name = sys.argv[1] if len(sys.argv) > 1 else "maskrcnn-r50-fpn"
    known = models.find(name)
    if not isinstance(known, MaskRcnn):
        sys.exit(f"{name} is no Mask R-CNN")
    print(f"{name}, fp32, one thread, {OBJECTS} objects, median of {ROUNDS} rounds, milliseconds a picture")
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(scratch, "weights.pth")
        if len(sys.argv) <= 2:
            torch.save(fill(known), weights)
        for size in SIZES:
            spec = known.override(min_size=size)
            canvas, times = milliseconds(spec, PartedSource(spec, weights), Path(scratch, str(size)))
            shown = "   ".join(f"{backend} {ms:.0f}" for backend, ms in times.items())
            ratio = times["eager"] / times["openvino"] if "openvino" in times else float("nan")
            print(f"  {size:4} ({canvas:9})   {shown}   eager / openvino {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()

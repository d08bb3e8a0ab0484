"""Milliseconds of processor time of one picture of md1 on every backend, by size, and how often as fast as eager.

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
ROUNDS = 3
OBJECTS = 10
"""Each has a run of the mask head; made-up weights would find a hundred."""


def milliseconds(spec: MaskRcnn, source: PartedSource, folder: Path) -> tuple[str, dict[str, float]]:
    """The input's size, and the median of each backend; timed in turn."""
    built = {}
    for backend in engines.available():
        adapter = engines.find(backend)
        for precision in ("fp32", *(["auto"] if "auto" in adapter.precisions else [])):
            plan, place = EnginePlan(precision=precision, max_batch=1), folder / backend / precision
            source.build(adapter, plan, place)
            built[f"{backend} {precision}"] = PartedEngines(adapter, place, spec, plan, Device(threads=1))
    canvas = canvases(spec, locate(GATE_PICTURES[spec.task]).read_bytes())[0]
    wish = Wish(conf=0.0, iou=spec.iou, most=OBJECTS)
    times: dict[str, list[float]] = {backend: [] for backend in built}
    for turn in range(ROUNDS + 1):
        for backend, parts in built.items():
            start = time.process_time()  # what others do on the machine does not count
            spec.detect(parts.run, canvas, wish)
            if turn:  # the first has the shapes prepared
                times[backend].append((time.process_time() - start) * 1000)
    return f"{canvas.shape[1]}x{canvas.shape[0]}", {name: statistics.median(each) for name, each in times.items()}


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
            canvas, times = milliseconds(spec, PartedSource(spec, weights), Path(scratch, str(size)))
            shown = "   ".join(f"{backend} {ms:.0f} ({times['eager fp32'] / ms:.2f}x)" for backend, ms in times.items())
            print(f"  {size:4} ({canvas:9})   {shown}", flush=True)


if __name__ == "__main__":
    main()

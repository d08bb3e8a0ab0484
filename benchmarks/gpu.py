"""What a GPU makes of a model: milliseconds a batch with every engine by CUDA events, and pictures a second in all.

.venv/bin/python -m benchmarks.gpu [MODEL] [--weights PATH ...] [--size N] [--processes 16]

"network" is the engine alone; "all" is what is recorded as one CUDA graph: normalisation, network, decode and
suppression. The last table is the whole pipeline from JPEG bytes, in as many processes as given, batches of eight.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from detserve import engines, models
from detserve.bench import samples
from detserve.bench.report import align
from detserve.engines import sources
from detserve.engines.base import Device, EnginePlan
from detserve.engines.torch_device import TorchEngine, gpu_count
from detserve.errors import SetupError
from detserve.models.spec import DetectorSpec
from detserve.options import Options
from detserve.pack.weights import locate
from detserve.pictures.header import MAX_PIXELS
from detserve.worker.cuda_detector import CudaDetector
from detserve.worker.loading import detector_on
from detserve.worker.pipeline import Pipeline

SETTINGS = [(backend, precision) for backend in ("eager", "torchscript", "tensorrt") for precision in ("fp32", "fp16")]
BATCHES = (1, 8, 32)
ROUNDS, CALLS = 5, 50
SECONDS = 5.0
SIZES = ("512x512", "1920x1440", "4000x3000")
TOGETHER = 8
"""Pictures in a batch of the last table."""


def milliseconds(call: Callable[[], object]) -> float:
    """Median over rounds of the mean time of a call on the GPU."""
    rounds = []
    for _ in range(ROUNDS + 1):  # the first warms up
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        for _ in range(CALLS):
            call()
        end.record()
        torch.cuda.synchronize()
        rounds.append(float(begin.elapsed_time(end)) / CALLS)
    return statistics.median(rounds[1:])


def engine(spec: DetectorSpec, setting: tuple[str, str], folder: Path) -> TorchEngine:
    """The engine that was built in that folder."""
    backend, precision = setting
    plan = EnginePlan(precision=precision, max_batch=BATCHES[-1], opt_batch=TOGETHER)
    loaded = engines.find(backend)(folder, spec, plan, Device(gpu=0))
    assert isinstance(loaded, TorchEngine)
    return loaded


def timings(spec: DetectorSpec, setting: tuple[str, str], folder: Path) -> list[str]:
    """A row of the first table."""
    loaded = engine(spec, setting, folder)
    found = detector_on(loaded)
    row = [" ".join(setting)]
    width, height = spec.size
    with torch.inference_mode():
        for n in BATCHES:
            pixels = torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, device=loaded.device)
            row.append(f"{milliseconds(partial(loaded.module, pixels)):.3f}")
            if isinstance(found, CudaDetector):
                step, thresholds = found.steps[n], torch.full((n, 2), 0.5, device=loaded.device)
                row.append(f"{milliseconds(partial(step, pixels, thresholds)):.3f}")
            else:
                row.append("-")
    return row


def pictures_a_second(job: tuple[str, tuple[int, int], tuple[str, str], str, str]) -> float:
    """One process of the last table: the pipeline on one picture of that size, over and over."""
    name, side, setting, folder, size = job
    spec = models.find(name).override(size=side)
    assert isinstance(spec, DetectorSpec)
    pipeline = Pipeline(detector_on(engine(spec, setting, Path(folder))), max_pixels=MAX_PIXELS)
    options = Options.parse({}, spec, {})
    items = [(samples.load(size)[0].data, options)] * TOGETHER
    pipeline(items)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        count += len(pipeline(items))
    return count / (time.perf_counter() - start)


def main() -> int:
    """Build all engines, then print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="centerface")
    parser.add_argument("--weights", nargs="+", default=())
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--processes", type=int, default=16)
    chosen = parser.parse_args()
    if gpu_count() == 0:
        print("benchmarks.gpu: there is no NVIDIA GPU that torch can use", file=sys.stderr)
        return 1
    spec = models.find(chosen.model).override(size=(chosen.size, chosen.size))
    assert isinstance(spec, DetectorSpec)
    source = sources.of(spec, *map(locate, chosen.weights or [spec.weights.origin]))
    print(f"{spec.name} at {chosen.size}, {torch.cuda.get_device_name()}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as scratch:
        folders: dict[tuple[str, str], Path] = {}
        rows = [["milliseconds", *(f"{what} {n}" for n in BATCHES for what in ("network", "all"))]]
        for setting in SETTINGS:
            folder = Path(scratch, *setting)
            folder.mkdir(parents=True)
            plan = EnginePlan(precision=setting[1], max_batch=BATCHES[-1], opt_batch=TOGETHER)
            try:
                engines.find(setting[0]).build(source, plan, folder)
                rows.append(timings(spec, setting, folder))
                folders[setting] = folder
            except SetupError as error:
                print(f"{' '.join(setting)}: {error}", file=sys.stderr)
        print(align(rows))
        rows = [["pictures/s", *SIZES]]
        with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool:
            for setting, folder in folders.items():
                jobs = [(spec.name, spec.size, setting, str(folder), size) for size in SIZES]
                # As many of one kind as there are processes: each takes one, and all run at once.
                sums = [sum(pool.map(pictures_a_second, [job] * chosen.processes, chunksize=1)) for job in jobs]
                rows.append([" ".join(setting), *(f"{value:.0f}" for value in sums)])
        print(align(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a GPU makes of a model: milliseconds a batch with every engine by CUDA events, and pictures a second in all.

.venv/bin/python -m benchmarks.gpu [MODEL] [--weights PATH ...] [--size N] [--processes 16]

"network" is normalisation and the engine, call by call; "graph" the same as one CUDA graph; "all" what a worker
records: normalisation, network, decode and suppression. The last table is the whole pipeline from JPEG bytes, in as
many processes as given, batches of eight, all at the same time.
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
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

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
from detserve.worker.cuda_detector import WARM_UP, CudaDetector
from detserve.worker.detector import Detector
from detserve.worker.loading import detector_on
from detserve.worker.pipeline import Pipeline

SETTINGS = [(backend, precision) for backend in ("eager", "torchscript", "tensorrt") for precision in ("fp32", "fp16")]
BATCHES = (1, 8, 32)
ROUNDS, CALLS = 5, 50
SECONDS = 5.0
READY_SECONDS = 120
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


def recorded(call: Callable[[], object]) -> Callable[[], object]:
    """The same as one CUDA graph."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        call()
    return graph.replay


def timings(spec: DetectorSpec, setting: tuple[str, str], folder: Path) -> dict[tuple[str, int], float]:
    """Milliseconds by what is timed, "network", "graph" or "all", and the number of pictures."""
    loaded = engine(spec, setting, folder)
    found = detector_on(loaded)
    width, height = spec.size
    measured = {}
    with torch.inference_mode():
        for n in BATCHES:
            pixels = torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, device=loaded.device)
            call = partial(loaded.module, pixels)
            measured["network", n] = milliseconds(call)
            if loaded.recordable:
                measured["graph", n] = milliseconds(recorded(call))
            if isinstance(found, CudaDetector):
                step, thresholds = found.steps[n], torch.full((n, 2), 0.5, device=loaded.device)
                measured["all", n] = milliseconds(partial(step, pixels, thresholds))
    return measured


_start: Barrier


def meet(barrier: Barrier) -> None:
    """What a process begins with: where all wait for one another before they measure."""
    global _start
    _start = barrier


def pictures_a_second(job: tuple[str, tuple[int, int], tuple[str, str], str, str]) -> float:
    """One process of the last table: the pipeline on one picture of that size, over and over."""
    name, side, setting, folder, size = job
    spec = models.find(name).override(size=side)
    assert isinstance(spec, DetectorSpec)
    detector: Detector[Any, Any] = detector_on(engine(spec, setting, Path(folder)))
    pipeline = Pipeline(detector, max_pixels=MAX_PIXELS)
    options = Options.parse({}, spec, {})
    items = [(samples.of_size(size), options)] * TOGETHER
    pipeline(items)
    _start.wait(READY_SECONDS)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        count += len(pipeline(items))
    return count / (time.perf_counter() - start)


def throughput(spec: DetectorSpec, setting: tuple[str, str], folder: Path, size: str, processes: int) -> float:
    """Pictures a second of so many processes together."""
    spawning = multiprocessing.get_context("spawn")
    job = (spec.name, spec.size, setting, str(folder), size)
    with spawning.Pool(processes, meet, (spawning.Barrier(processes),)) as pool:
        return sum(pool.map(pictures_a_second, [job] * processes, chunksize=1))


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
        kinds = [(what, n) for n in BATCHES for what in ("network", "graph", "all")]
        rows = [["milliseconds", *(f"{what} {n}" for what, n in kinds)]]
        for setting in SETTINGS:
            folder = Path(scratch, *setting)
            folder.mkdir(parents=True)
            plan = EnginePlan(precision=setting[1], max_batch=BATCHES[-1], opt_batch=TOGETHER)
            try:
                engines.find(setting[0]).build(source, plan, folder)
                measured = timings(spec, setting, folder)
            except SetupError as error:
                print(f"{' '.join(setting)}: {error}", file=sys.stderr)
                continue
            rows.append([" ".join(setting), *(f"{measured[k]:.3f}" if k in measured else "-" for k in kinds)])
            folders[setting] = folder
        print(align(rows))
        rows = [["pictures/s", *SIZES]]
        for setting, folder in folders.items():
            sums = [throughput(spec, setting, folder, size, chosen.processes) for size in SIZES]
            rows.append([" ".join(setting), *(f"{value:.0f}" for value in sums)])
        print(align(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The steps of gpu_session.py: each yields its figures one by one, and leaves out what this machine cannot do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import torch

from benchmarks import contestants, gpu
from detserve import engines, models
from detserve.archives import archive
from detserve.bench import samples
from detserve.engines import sources
from detserve.engines.base import EnginePlan
from detserve.errors import DetserveError
from detserve.models.spec import DetectorSpec, ReaderSpec
from detserve.pack.packer import ModelChoice, PackRequest, pack
from detserve.pack.weights import locate
from detserve.pictures.decode import decode
from detserve.worker import cuda_nms

ROOT = Path(__file__).parents[1]
MODEL, SIZE = "centerface", 320
CALLERS, SENT, SECONDS = "1,16,64", "512x512", 8
WORKERS = (1, 2, 4, 8)
CANDIDATES = (300, 1024)
Weights = Mapping[str, Path]


@dataclass(frozen=True)
class Figure:
    """One figure. what: is measured; batch: pictures, callers or processes at once, None where that says nothing."""

    what: str
    value: float
    unit: str
    batch: int | None = None


def missing(what: str, error: Exception) -> None:
    """Say why a figure is not there."""
    print(f"not measured: {what}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def on_gpu() -> bool:
    """Whether there is a GPU to measure."""
    return torch.cuda.is_available()


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that is still there, and all that it started."""
    if process.poll() is None:
        started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        for each in started:
            with suppress(psutil.NoSuchProcess):
                each.kill()


def tests(weights: Weights) -> Iterator[Figure]:
    """The tests that wait for a GPU, and those of the detector there."""
    marked = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/worker", "tests/engines"]
    ended = subprocess.run([*marked, "-m", "gpu"], cwd=ROOT, capture_output=True, text=True, check=False)
    print(ended.stdout[-6000:], ended.stderr[-2000:], sep="\n")
    for count, became in re.findall(r"(\d+) (passed|failed|skipped|errors?)", ended.stdout.rpartition("\n")[0][-300:]):
        yield Figure(f"tests marked gpu: {became}", int(count), "tests")


def suppression(weights: Weights) -> Iterator[Figure]:
    """Suppression of sixteen pictures with every candidate valid, by how many are compared on the GPU."""
    device = "cuda" if on_gpu() else "cpu"
    corner = torch.rand(16, 1024, 2, device=device) * 300
    boxes = torch.cat((corner, corner + 20), dim=2)
    valid, threshold = torch.ones(16, 1024, dtype=torch.bool, device=device), torch.full((16,), 0.5, device=device)
    for most in CANDIDATES:
        cuda_nms.MOST_COMPARED = most
        call = partial(cuda_nms.suppress, boxes, valid, threshold)
        if on_gpu():
            yield Figure(f"suppression, {most} compared, eager", gpu.milliseconds(call), "ms", 16)
            yield Figure(f"suppression, {most} compared, graph", gpu.milliseconds(gpu.recorded(call)), "ms", 16)
        else:
            yield Figure(f"suppression, {most} compared, on the processor", _milliseconds(call), "ms", 16)


def engines_timed(weights: Weights) -> Iterator[Figure]:
    """Milliseconds of every backend in fp32 and fp16, by batch."""
    spec, source = _model()
    with tempfile.TemporaryDirectory() as scratch:
        for setting in reversed(gpu.SETTINGS):  # TensorRT in fp16 first
            what = f"{MODEL} {SIZE}, {' '.join(setting)}"
            try:
                for (kind, n), value in gpu.timings(
                    spec, setting, _built(spec, source, setting, Path(scratch))
                ).items():
                    yield Figure(f"{what}, {kind}", round(value, 4), "ms", n)
            except (DetserveError, RuntimeError, AssertionError) as error:
                missing(what, error)


def compiled(weights: Weights) -> Iterator[Figure]:
    """torch.compile of the eager network in fp16, as a baseline: minutes of compiling."""
    spec, source = _model()
    if not on_gpu():
        return
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        setting = ("eager", "fp16")
        module = gpu.engine(spec, setting, _built(spec, source, setting, Path(scratch))).module
        for n in gpu.BATCHES:
            pixels = torch.zeros(n, SIZE, SIZE, 3, dtype=torch.uint8, device="cuda")
            call = partial(torch.compile(module, mode="max-autotune"), pixels)
            yield Figure(f"{MODEL} {SIZE}, torch.compile fp16", round(gpu.milliseconds(call), 4), "ms", n)


def parity(weights: Weights) -> Iterator[Figure]:
    """The gate's figures of every model whose weights are at hand, in fp32 and fp16."""
    for name, spec in models.catalogue().items():
        given = weights.get(name)
        if given is None and not spec.weights.origin.startswith("package:"):
            print(f"not measured: parity of {name}: --weights {name}=PATH", file=sys.stderr)
            continue
        for precision in ("fp16", "fp32") if on_gpu() else ("fp32",):
            what = f"parity of {name}, {engines.find('auto', spec).name} {precision}"
            try:
                yield from _parity(name, precision, what, given)
            except (DetserveError, RuntimeError) as error:
                missing(what, error)


def _parity(name: str, precision: str, what: str, given: Path | None) -> Iterator[Figure]:
    chosen = ModelChoice(model=name, weights=[str(given)] if given else [])
    reads = isinstance(models.find(name), ReaderSpec)  # which is packed behind a detector
    detect = ModelChoice(model="ppocrv6-small-det") if reads else chosen
    with tempfile.TemporaryDirectory() as out:
        request = PackRequest(
            name="m", detect=detect, read=chosen if reads else None, out=Path(out), precision=precision
        )
        recipe = archive.read(pack(request)).recipe
    packed = recipe.read if reads and recipe.read else recipe.detect
    for key in ("raw", "unmatched", "iou", "conf"):
        yield Figure(f"{what}: {key}", float(packed.parity[key]), "")


def served(weights: Weights) -> Iterator[Figure]:
    """Pictures a second from JPEG bytes served by TorchServe as serve.py registers the model by itself."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        chosen = ModelChoice(model=MODEL, settings={"size": (SIZE, SIZE)})
        path = pack(PackRequest(name="fd1", detect=chosen, out=folder / "store"))
        backend = archive.read(path).recipe.detect.backend
        with contestants.detserve(path, folder, ()) as (url, _):
            load = [sys.executable, str(ROOT / "qpstest.py"), "--url", url.rpartition("/predictions")[0]]
            load += ["--pictures", SENT, "--concurrency", CALLERS, "--duration", str(SECONDS)]
            subprocess.run([*load, "--json", str(folder / "load.json")], cwd=folder, check=True)
        for each in json.loads((folder / "load.json").read_text())["loads"]:
            what = f"served by TorchServe, {SENT}, {backend}"
            yield Figure(what, each["qps"], "pictures/s", each["concurrency"])
            yield Figure(f"{what}, p99", each["p99_ms"], "ms", each["concurrency"])
            yield Figure(f"{what}, errors", each["errors"], "", each["concurrency"])


def jpegs(weights: Weights) -> Iterator[Figure]:
    """Pictures a second of the processor's reduced decode, and of nvJPEG in batches, by size and threads."""
    for size in gpu.SIZES:
        data = samples.of_size(size)
        for threads in (1, 4, 16):
            with ThreadPoolExecutor(threads) as pool:
                reduced = partial(decode, target_size=lambda _: (SIZE, SIZE))
                yield Figure(
                    f"decode {size}, reduced, threads",
                    round(_rate(pool, threads, partial(reduced, data))),
                    "/s",
                    threads,
                )
        try:
            from torchvision.io import ImageReadMode, decode_jpeg

            batch = [torch.frombuffer(bytearray(data), dtype=torch.uint8)] * 16
            call = partial(decode_jpeg, batch, mode=ImageReadMode.RGB, device="cuda")
            yield Figure(f"decode {size}, nvJPEG", round(16_000 / gpu.milliseconds(call)), "/s", 16)
        except (ImportError, RuntimeError, AssertionError) as error:
            missing(f"nvJPEG of {size}", error)


def memory(weights: Weights) -> Iterator[Figure]:
    """GPU memory that each further worker takes, as nvidia-smi tells it, with TensorRT in fp16 or what there is."""
    if not on_gpu():
        return
    with tempfile.TemporaryDirectory() as scratch:
        chosen = ModelChoice(model=MODEL, settings={"size": (SIZE, SIZE)})
        path = pack(PackRequest(name="fd1", detect=chosen, out=Path(scratch)))
        empty = _used_mib()
        for workers in WORKERS:
            folder = Path(scratch, str(workers))
            folder.mkdir()
            with contestants.detserve(path, folder, ("--workers", str(workers))):
                each = (_used_mib() - empty) / workers
            yield Figure("GPU memory a worker", round(each), "MiB", workers)


def _used_mib() -> int:
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout)


def _model() -> tuple[DetectorSpec, sources.base.Source]:
    spec = models.find(MODEL).override(size=(SIZE, SIZE))
    assert isinstance(spec, DetectorSpec)
    return spec, sources.of(spec, locate(spec.weights.origin))


def _built(spec: DetectorSpec, source: sources.base.Source, setting: tuple[str, str], scratch: Path) -> Path:
    """The folder of an engine that was built there."""
    folder = scratch / "-".join(setting)
    folder.mkdir()
    plan = EnginePlan(precision=setting[1], max_batch=gpu.BATCHES[-1], opt_batch=gpu.TOGETHER)
    engines.find(setting[0]).build(source, plan, folder)
    return folder


def _rate(pool: ThreadPoolExecutor, threads: int, call: Callable[[], object]) -> float:
    """Calls a second of so many threads that are kept busy for a second."""
    until = time.perf_counter() + 1

    def keep_calling(_: int) -> int:
        count = 0
        while time.perf_counter() < until:
            call()
            count += 1
        return count

    return float(sum(pool.map(keep_calling, range(threads))))


def _milliseconds(call: Callable[[], object]) -> float:
    """Of one call on the processor, the best of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1000)
    return round(min(times), 3)


STEPS: Mapping[str, Callable[[Weights], Iterator[Figure]]] = {
    "tests": tests,
    "suppression": suppression,
    "engines": engines_timed,
    "parity": parity,
    "served": served,
    "jpegs": jpegs,
    "memory": memory,
    "compiled": compiled,
}
"""The steps by name."""

"""Milliseconds of one picture on every backend of this machine; those of int8 are in benchmarks.precision.

.venv/bin/python -m benchmarks.backends [MODEL] [SIZE]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from detserve import engines, models
from detserve.engines import sources
from detserve.engines.base import INT8, Device, Engine, EnginePlan
from detserve.engines.sources.base import Source
from detserve.errors import BackendMissing
from detserve.pack.weights import locate

ROUNDS, CALLS = 5, 40


def build(name: str, precision: str, source: Source, folder: Path) -> Engine:
    """An engine on one thread."""
    adapter, plan = engines.find(name), EnginePlan(precision=precision, max_batch=1)
    adapter.build(source, plan, folder)
    return adapter(folder, source.spec, plan, Device(threads=1))


def median_ms(engine: Engine, batch: np.ndarray) -> float:
    """Median milliseconds of a call."""
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        engine(batch)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def main() -> None:
    """Build all engines, then time them in turn, so that a slow moment of the machine hits all alike."""
    name = sys.argv[1] if len(sys.argv) > 1 else "centerface"
    side = int(sys.argv[2]) if len(sys.argv) > 2 else 320
    spec = models.find(name).override(size=(side, side))
    source = sources.of(spec, locate(spec.weights.origin))
    batch = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as scratch:
        built: dict[tuple[str, str], Engine] = {}
        for backend in engines.available():
            for precision in (each for each in engines.find(backend).precisions if each != INT8):
                folder = Path(scratch, backend, precision)
                folder.mkdir(parents=True)
                with suppress(BackendMissing):  # torch in fp16 without a GPU
                    built[backend, precision] = build(backend, precision, source, folder)
        rounds = [{key: median_ms(engine, batch) for key, engine in built.items()} for _ in range(ROUNDS)]
    print(f"{name} at {side}x{side}, one thread, median of {ROUNDS} rounds of {CALLS}, milliseconds a picture")
    for backend, precision in built:
        print(f"  {backend:12} {precision:5} {statistics.median(r[backend, precision] for r in rounds):6.2f}")


if __name__ == "__main__":
    main()

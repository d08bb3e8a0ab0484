"""What `make serve` holds in memory: Java, each worker and serve.py, after the pictures of `make bench`.

    .venv/bin/python -m benchmarks.footprint [NAME ...] [--requests 20]

A server with the archives of model_store (fd1 td1 ocr1), as `make serve` starts it. Each model is sent each picture so
many times, by one caller and then by sixteen. Resident memory counts what processes share as often as they share it,
proportional memory once.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil

from benchmarks.ceiling import SIZES
from detserve.bench import samples
from detserve.bench.report import align
from detserve.places import MODEL_STORE
from detserve.serve.config import Settings
from detserve.serve.launch import Launched, free_ports, launch

CALLERS = 16
MODELS = ("fd1", "td1", "ocr1")


def ask(url: str, pictures: Sequence[bytes], times: int) -> None:
    """Send each picture so many times, one after the other and then several at a time."""
    with httpx.Client(timeout=60) as client:
        for callers in (1, CALLERS):
            with ThreadPoolExecutor(callers) as pool:
                for answer in pool.map(lambda picture: client.put(url, content=picture), [*pictures] * times):
                    answer.raise_for_status()


def worker_names(server: Launched, models: Sequence[str]) -> dict[int, str]:
    """Process id → whose worker it is."""
    with httpx.Client(base_url=server.management) as client:
        described = {model: client.get(f"/models/{model}").raise_for_status().json()[0] for model in models}
    return {worker["pid"]: f"worker of {model}" for model, each in described.items() for worker in each["workers"]}


def main() -> None:
    """Print a row for each process, and their sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="NAME", help="archives (fd1 td1 ocr1)")
    parser.add_argument("--requests", type=int, default=20, help="of each picture and model (%(default)s)")
    arguments = parser.parse_args()
    pictures = [samples.of_size(size) for size in SIZES]
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings(model_store=MODEL_STORE, run_dir=Path(scratch), **free_ports())
        with launch(settings, *arguments.models) as server:
            for model in arguments.models:
                ask(f"{server.url}/predictions/{model}", pictures, arguments.requests)
            top = psutil.Process(server.process.pid)
            names = worker_names(server, arguments.models) | {top.pid: "serve.py"}
            held = [
                (names.get(each.pid, each.name()), each.memory_full_info())
                for each in (top, *top.children(recursive=True))
            ]
    rows = [[name, f"{memory.rss / 1e6:.0f}", f"{memory.pss / 1e6:.0f}"] for name, memory in sorted(held)]
    rows.append(["all", *(f"{sum(getattr(m, kind) for _, m in held) / 1e6:.0f}" for kind in ("rss", "pss"))])
    print(align([["process", "resident, MB", "proportional, MB"], *rows]))


if __name__ == "__main__":
    main()

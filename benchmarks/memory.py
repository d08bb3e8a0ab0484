"""Resident memory of an archive's pipeline, loaded as a worker loads it, while it answers pictures of ever other sizes.

.venv/bin/python -m benchmarks.memory FILE.mar [PICTURES]    50 by default; colour alone

A worker holds the Python side of TorchServe beside it; this process the pictures that it sends.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import psutil

from detserve.bench.engine import packed
from detserve.bench.samples import photograph
from detserve.engines.base import Device
from detserve.options import Options
from detserve.worker.loading import load_pipeline
from detserve.worker.response import body

SIDES = (64, 2000)
"""Least and largest side of a picture, in pixels."""
EVERY = 10


def main() -> None:
    """Print a line after loading, and one after each ten pictures."""
    archive, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 50
    process = psutil.Process()
    pictures = [photograph(*map(int, size)) for size in np.random.default_rng(0).integers(*SIDES, (count, 2))]
    print(f"before loading: {process.memory_info().rss / 1e6:.0f} MB", flush=True)
    with packed(archive) as target:
        pipeline = load_pipeline(target.recipe, target.folder, Device(threads=1))
        print(f"loaded: {process.memory_info().rss / 1e6:.0f} MB", flush=True)
        options = Options.parse({}, pipeline.spec, target.recipe.options)
        for number, picture in enumerate(pictures, 1):
            (result,) = pipeline([(picture, options)])
            answer = body(result)
            if number % EVERY == 0:
                memory = process.memory_info().rss / 1e6
                print(f"after {number} pictures: {memory:.0f} MB; the last answer: {len(answer)} bytes", flush=True)


if __name__ == "__main__":
    main()

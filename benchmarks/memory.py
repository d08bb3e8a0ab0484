"""Resident memory of an archive's pipeline, loaded as a worker loads it, while it answers pictures of ever other sizes,
and its peak while it answers large ones; with depth where the model has it.

MALLOC_ARENA_MAX=1 .venv/bin/python -m benchmarks.memory FILE.mar [PICTURES]    50 by default, and four large ones

A worker, whose memory is allotted in one arena too, holds the Python side of TorchServe beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import psutil

from detserve.bench.engine import packed
from detserve.bench.samples import photograph
from detserve.engines.base import Device
from detserve.models.parts import PartedSpec
from detserve.models.spec import ModelSpec
from detserve.options import Options
from detserve.pictures.depth import WithDepth
from detserve.worker.encoded import Encoded
from detserve.worker.loading import load_pipeline
from detserve.worker.response import body

SIDES = (64, 2000)
"""Least and largest side of a picture, in pixels."""
LARGE = ((5000, 4000), (8000, 6000))
EVERY = 10


def main() -> None:
    """Print a line after loading, one after each ten pictures, and one for each large picture."""
    archive, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 50
    sizes = np.random.default_rng(0).integers(*SIDES, (count, 2)).tolist()
    with packed(archive) as target:
        pipeline = load_pipeline(target.recipe, target.folder, Device(threads=1))
        print(f"loaded: {resident():.0f} MB", flush=True)
        options = Options.parse({}, pipeline.spec, target.recipe.options)
        for number, (width, height) in enumerate(sizes, 1):
            (result,) = pipeline([(sent(photograph(width, height), (width, height), pipeline.spec), options)])
            answer = body(result)
            if number % EVERY == 0:
                print(f"after {number}: {resident():.0f} MB; the last answer: {len(answer)} bytes", flush=True)
        for suffix in ("JPEG", "PNG"):
            for size in LARGE:
                picture = sent(photograph(*size) if suffix == "JPEG" else striped(*size), size, pipeline.spec)
                Path("/proc/self/clear_refs").write_text("5")  # what the peak is counted from
                (result,) = pipeline([(picture, options)])
                body(result)
                peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
                del picture, result
                print(f"{suffix} of {size[0]}x{size[1]}: peak {peak:.0f} MB, then {resident():.0f} MB", flush=True)


def resident() -> float:
    """Of this process, in megabytes."""
    return float(psutil.Process().memory_info().rss) / 1e6


def sent(picture: bytes, size: tuple[int, int], spec: ModelSpec) -> Encoded:
    """The picture, and a map of that (width, height) where the model wants depth."""
    if not (isinstance(spec, PartedSpec) and spec.has_depth):
        return picture
    depth = cv2.imencode(".png", np.full((size[1], size[0]), 1200, np.uint16))[1].tobytes()
    return WithDepth(picture, depth)


def striped(width: int, height: int) -> bytes:
    """A PNG of that size, small as a file."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[::7] = 99
    return cv2.imencode(".png", pixels)[1].tobytes()


if __name__ == "__main__":
    main()

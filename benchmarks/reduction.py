"""How small a JPEG may be decoded before it is scaled: average precision of faces, and milliseconds of a 4000x3000 one.

    .venv/bin/python -m benchmarks.reduction PICTURES [--archive model_store/fd1.mar]

PICTURES is a folder of pictures whose labels.json has the noses of their faces. They are measured alone and in mosaics,
at one, two and three times their size, so that all reductions occur.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import faces
from detserve.bench import samples
from detserve.bench.engine import packed
from detserve.bench.report import align
from detserve.core.detections import Detections
from detserve.engines.base import Device
from detserve.errors import SetupError
from detserve.options import Options
from detserve.pictures import jpeg
from detserve.worker.loading import load_pipeline
from detserve.worker.pipeline import Pipeline

OVERSAMPLINGS = {"whole": 1e9, "2": 2.0, "1.5": 1.5, "1.25": 1.25, "1": 1.0}
"""Name → the times that the sides of a reduced JPEG must be those of the input at least."""
TIMES = (1, 2, 3)
MOSAICS = 8
MAX_PIXELS = 13_000_000
ROUNDS = 15
CONF = "0.05"
"""A curve needs its tail."""


def enlarged(folder: Path) -> list[faces.Labelled]:
    """The pictures of that folder, and mosaics of them, mirrored too, each at all `TIMES`."""
    singles = faces.singles(folder)
    draw = random.Random(1)
    base = singles + [
        faces.mosaic(draw.choices(singles, k=side * side), side) for side in (2, 3) for _ in range(MOSAICS)
    ]
    return [
        picture.enlarged(times)
        for each in base
        for picture in (each, each.mirrored())
        for times in TIMES
        if picture.pixels[..., 0].size * times**2 < MAX_PIXELS
    ]


def average_precision(pipeline: Pipeline[Any, Any], pictures: Sequence[faces.Labelled], sent: Sequence[bytes]) -> float:
    """Of what the pipeline finds in the JPEGs of those pictures."""
    options = Options.parse({"conf_threshold": CONF}, pipeline.spec, {})
    found = []
    for data in sent:
        outcome = pipeline([(data, options)])[0].outcome
        assert isinstance(outcome, Detections), outcome
        found.append(np.concatenate([outcome.boxes, outcome.scores[:, None]], axis=1))
    return faces.average_precision(found, pictures)


def milliseconds(pipeline: Pipeline[Any, Any], data: bytes) -> dict[str, float]:
    """Name of an oversampling → median milliseconds of processor, measured in turns."""
    options = Options.parse({}, pipeline.spec, {})
    times: dict[str, list[float]] = {name: [] for name in OVERSAMPLINGS}
    for _ in range(ROUNDS):
        for name, jpeg.OVERSAMPLING in OVERSAMPLINGS.items():
            start = time.process_time()
            pipeline([(data, options)])
            times[name].append((time.process_time() - start) * 1000)
    return {name: statistics.median(each) for name, each in times.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="folder of labelled pictures")
    parser.add_argument("--archive", type=Path, default=Path("model_store/fd1.mar"), help="of faces (fd1)")
    options = parser.parse_args(arguments)
    try:
        pictures = enlarged(options.pictures)
        with packed(options.archive) as target:
            pipeline = load_pipeline(target.recipe, target.folder, Device(threads=1))
            sent = [picture.jpeg for picture in pictures]
            sizes = ("1920x1080", "1920x1440", "4000x3000")
            times = [milliseconds(pipeline, samples.of_size(size)) for size in sizes]
            rows = [["oversampling", "AP", *(f"{size}, ms" for size in sizes)]]
            for name, jpeg.OVERSAMPLING in OVERSAMPLINGS.items():
                precision = 100 * average_precision(pipeline, pictures, sent)
                rows.append([name, f"{precision:.2f}", *(f"{each[name]:.1f}" for each in times)])
    except (SetupError, OSError) as error:
        print(f"reduction: {error}", file=sys.stderr)
        return 1
    print(f"AP on {sum(len(picture.noses) for picture in pictures)} faces; processor time of the pipeline")
    print(align(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

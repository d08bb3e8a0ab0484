"""A face detector with inputs of several sizes: what each finds, by size of face, and what it costs.

    .venv/bin/python -m benchmarks.sizes PICTURES [--sides 320 448 640]

PICTURES is a folder of pictures whose labels.json has the noses of their faces. How large a face is, is the longer side
of its box, as a share of the picture's longer side: small below 1/32, which are 10 pixels of an input of 320, medium
below 1/16, else large. The labels have no boxes: it is the box that the network finds in fp32 at 1280. Milliseconds of
processor time are those of the whole pipeline on one thread, from a JPEG to its faces.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import faces
from benchmarks.precision import boxes, engine
from detserve import models
from detserve.bench import samples
from detserve.bench.report import align
from detserve.engines import sources
from detserve.engines.base import Engine
from detserve.errors import SetupError
from detserve.options import Options
from detserve.pack.weights import locate
from detserve.pictures.header import MAX_PIXELS
from detserve.worker.detector import HostDetector
from detserve.worker.pipeline import Pipeline

SIDES = (320, 448, 640)
LIMITS = {"small": (0.0, 1 / 32), "medium": (1 / 32, 1 / 16), "large": (1 / 16, np.inf)}
"""Face's longer side / picture's longer side, from and below."""
REFERENCE = 1280
"""Side of the input by whose boxes the labelled faces are measured."""
SHAPES = {"4:3": "1280x960", "16:9": "1280x720", "1:1": "1280x1280"}
"""The pictures that are timed."""
ROUNDS, CALLS = 11, 5


def shares(rows: NDArray[np.floating], picture: faces.Labelled) -> NDArray[np.floating]:
    """Boxes x1, y1, x2, y2 of a picture → the longer side of each as a share of the picture's."""
    return np.asarray((rows[:, 2:4] - rows[:, :2]).max(axis=1, initial=0) / max(picture.pixels.shape[:2]))


def sizes(picture: faces.Labelled, found: NDArray[np.floating]) -> NDArray[np.floating]:
    """How large each face of a picture is, [n]: the surest of the boxes that hold its nose. `found` is in the order of
    confidence. Raises SetupError for a face without a box.
    """
    holds = faces.holding(found, picture.noses)
    if not holds.any(axis=0).all():
        raise SetupError(f"a labelled face is not found at {REFERENCE}, so nobody knows how large it is")
    return np.asarray(shares(found, picture)[holds.argmax(axis=0)])


def of_size(
    found: NDArray[np.floating], picture: faces.Labelled, sized: NDArray[np.floating], limits: tuple[float, float]
) -> tuple[NDArray[np.floating], faces.Labelled]:
    """What counts for the faces within these limits: neither other faces nor the boxes that hold only those, and of the
    boxes that hold no face those that are themselves within the limits.
    """
    least, most = limits
    wanted = (least <= sized) & (sized < most)
    holds = faces.holding(found, picture.noses)
    own = shares(found, picture)
    counts = holds[:, wanted].any(axis=1) | (~holds.any(axis=1) & (least <= own) & (own < most))
    return found[counts], replace(picture, noses=picture.noses[wanted])


def precisions(
    found: Sequence[NDArray[np.floating]], pictures: Sequence[faces.Labelled], sized: Sequence[NDArray[np.floating]]
) -> list[float]:
    """Average precision on all faces, and on those of each size."""
    every = [faces.average_precision(found, pictures)]
    for limits in LIMITS.values():
        rows, labelled = zip(*map(of_size, found, pictures, sized, [limits] * len(pictures)), strict=True)
        every.append(faces.average_precision(rows, labelled))
    return every


def milliseconds(found_by: Mapping[int, Engine], jpeg: bytes) -> dict[int, float]:
    """Median milliseconds of processor time of a picture's pipeline with each engine, in turns."""
    pipelines = {side: Pipeline(HostDetector(each), MAX_PIXELS) for side, each in found_by.items()}
    rounds: dict[int, list[float]] = {side: [] for side in pipelines}
    for _ in range(1 + ROUNDS):
        for side, run in pipelines.items():
            item = jpeg, Options.parse({}, run.spec)
            start = time.process_time()
            for _ in range(CALLS):
                run([item])
            rounds[side].append((time.process_time() - start) * 1000 / CALLS)
    return {side: statistics.median(times[1:]) for side, times in rounds.items()}  # the first compiles the shape


def rows(model: str, weights: Sequence[str], sides: Sequence[int], folder: Path) -> list[list[str]]:
    """The table: its head, and a line for each side, for the labelled pictures of that folder."""
    pictures, spec = faces.load(folder), models.find(model)
    files = [locate(weight) for weight in weights or [spec.weights.origin]]
    with tempfile.TemporaryDirectory() as scratch:

        def built(side: int, precision: str) -> Engine:
            sized = spec.override(size=(side, side))
            return engine(sources.of(sized, *files), precision, None, Path(scratch, f"{side}-{precision}"))

        reference = boxes(built(REFERENCE, "fp32"), pictures)
        sized = [sizes(picture, found) for picture, found in zip(pictures, reference, strict=True)]
        engines = {side: built(side, "auto") for side in sides}
        times = {shape: milliseconds(engines, samples.of_size(size)) for shape, size in SHAPES.items()}
        every = np.concatenate(sized)
        counts = {name: int(((least <= every) & (every < most)).sum()) for name, (least, most) in LIMITS.items()}
        classes = [f"{name} ({count})" for name, count in counts.items()]
        table = [["input", f"AP of all ({len(every)})", *classes, *(f"{shape}, ms" for shape in SHAPES)]]
        for side, each in engines.items():
            found = precisions(boxes(each, pictures), pictures, sized)
            ms = [f"{times[shape][side]:.2f}" for shape in SHAPES]
            table.append([str(side), *(f"{100 * value:.2f}" for value in found), *ms])
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table → exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="folder of labelled pictures")
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, metavar="N", help="of the input (320 448 640)")
    parser.add_argument("--model", default="centerface", help="a face detector (centerface)")
    parser.add_argument("--weights", nargs="+", metavar="PATH", help="its weights, where it brings none")
    options = parser.parse_args(arguments)
    try:
        table = rows(options.model, options.weights, options.sides, options.pictures)
    except (SetupError, OSError) as error:
        print(f"sizes: {error}", file=sys.stderr)
        return 1
    print(f"{options.model} on openvino, auto, one thread; AP by size of face; ms of the processor for a picture")
    print(align(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())

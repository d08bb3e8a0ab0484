"""A face detector in fp32, bf16 and int8: average precision on labelled faces, time of a picture, size of the engine.

    .venv/bin/pip install --no-deps -r requirements/int8.txt
    .venv/bin/python -m benchmarks.precision PICTURES [--calibration DIR ...]

PICTURES is a folder of pictures whose labels.json has the noses of their faces. int8 is calibrated on the pictures of
scikit-image, or on those named, and not on those that are measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import faces
from detserve import engines, models
from detserve.bench.report import align
from detserve.core.detections import Detections, Pixels
from detserve.engines import sources
from detserve.engines.base import INT8, Device, Engine, EnginePlan
from detserve.engines.calibration import Calibration
from detserve.engines.sources.base import Source
from detserve.errors import SetupError
from detserve.options import Options
from detserve.pack.weights import locate
from detserve.pictures.header import MAX_PIXELS
from detserve.worker.detector import HostDetector
from detserve.worker.pipeline import Pipeline

PRECISIONS = ("fp32", "bf16", INT8)
SIDES = (320, 640)
LEAST_CONF = 0.05
ROUNDS, CALLS = 9, 20


def engine(source: Source, precision: str, calibration: Calibration | None, folder: Path) -> Engine:
    """OpenVINO's engine in that precision, on one thread. calibration: for int8."""
    adapter, plan = engines.find("openvino"), EnginePlan(precision=precision, max_batch=1)
    folder.mkdir(parents=True)
    adapter.build(source, plan, folder, calibration if precision == INT8 else None)
    return adapter(folder, source.spec, plan, Device(threads=1))


def boxes(found_by: Engine, pictures: Sequence[faces.Labelled]) -> list[NDArray[np.float32]]:
    """What the served pipeline finds on that engine: for each picture rows x1, y1, x2, y2, conf in its pixels."""
    options = Options(
        conf_threshold=LEAST_CONF, iou_threshold=found_by.spec.iou, max_detections=found_by.spec.max_detections
    )
    results = Pipeline(HostDetector(found_by), MAX_PIXELS)([(picture.jpeg, options) for picture in pictures])
    return [_rows(result.outcome) for result in results]


def precision_of(found_by: Engine, pictures: Sequence[faces.Labelled]) -> float:
    """Average precision of the served pipeline on that engine."""
    return faces.average_precision(boxes(found_by, pictures), pictures)


def _rows(outcome: object) -> NDArray[np.float32]:
    assert isinstance(outcome, Detections), outcome
    return np.concatenate([outcome.boxes, outcome.scores[:, None]], axis=1)


def milliseconds(engines: Mapping[str, Engine], batch: Pixels) -> dict[str, float]:
    """Median milliseconds of a call of each, measured in turns, so that a slow moment hits all alike."""
    rounds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(ROUNDS):
        for name, each in engines.items():
            times = []
            for _ in range(CALLS):
                start = time.perf_counter()
                each(batch)
                times.append((time.perf_counter() - start) * 1000)
            rounds[name].append(statistics.median(times))
    return {name: statistics.median(times) for name, times in rounds.items()}


def rows(source: Source, pictures: Sequence[faces.Labelled], calibration: Calibration) -> list[list[str]]:
    """A line of the table for each precision."""
    width, height = source.spec.size
    with tempfile.TemporaryDirectory() as scratch:
        engines = {name: engine(source, name, calibration, Path(scratch, name)) for name in PRECISIONS}
        sizes = {name: sum(file.stat().st_size for file in Path(scratch, name).iterdir()) for name in PRECISIONS}
        times = milliseconds(engines, calibration.canvas(calibration.pictures[0], source.spec))
        found = {name: 100 * precision_of(each, pictures) for name, each in engines.items()}
    return [
        [f"{width}x{height}", name, f"{found[name]:.2f}", f"{times[name]:.2f}", f"{sizes[name] / 1e6:.2f}"]
        for name in PRECISIONS
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="folder of labelled pictures")
    parser.add_argument("--calibration", nargs="+", metavar="DIR", help="pictures for int8 (those of scikit-image)")
    parser.add_argument("--model", default="centerface", help="a face detector (centerface)")
    parser.add_argument("--weights", nargs="+", metavar="PATH", help="its weights, where it brings none")
    options = parser.parse_args(arguments)
    try:
        spec = models.find(options.model)
        weights = options.weights or [spec.weights.origin]
        standard = [str(locate("package:skimage/data/astronaut.png").parent)]
        calibration = Calibration.of(options.calibration or standard)
        pictures = faces.load(options.pictures)
        table = [["input", "precision", "AP", "ms", "MB"]]
        for side in SIDES:
            sized = spec.override(size=(side, side))
            table += rows(sources.of(sized, *map(locate, weights)), pictures, calibration)
    except (SetupError, OSError) as error:
        print(f"precision: {error}", file=sys.stderr)
        return 1
    count = sum(len(picture.noses) for picture in pictures)
    print(f"{spec.name} on openvino, one thread; AP on {count} faces; int8 of {len(calibration.pictures)} pictures")
    print(align(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())

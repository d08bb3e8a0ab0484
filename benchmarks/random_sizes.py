"""An archive of text on pictures of ever other sizes: how long each takes, and how much memory its worker holds.

    .venv/bin/python -m benchmarks.random_sizes FILE.mar [PICTURE ...] [--count 400]

Each picture has a size of its own, its sides drawn between 200 and 2400 pixels by a generator with a fixed seed. It
shows one of the PICTUREs, or scikit-image's page, stretched by up to 1.4 either way, so that lines have all lengths,
and scaled to fit; the rest has the colour of its border. So all show the same words, and what differs is the size.

The archive runs in a process of its own, on one thread, with the code that it carries: see benchmarks/paired.py.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.paired import Worker
from detserve.bench.samples import QUALITY
from detserve.core.detections import Pixels
from detserve.pack.weights import locate
from detserve.pictures.decode import decode

SIDES = (200, 2400)
"""Least and largest side of a picture, in pixels; as many lie between 200 and 400 as between 1200 and 2400."""
STRETCH = 1.4
EVERY = 100


def sheets(pictures: Sequence[bytes], count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` JPEGs, each of a random size and with one of the pictures on it, in turn."""
    random = np.random.default_rng(seed)
    shown = [decode(picture).rgb for picture in pictures]
    least, largest = np.log(SIDES).tolist()
    for i in range(count):
        width, height = np.exp(random.uniform(least, largest, 2)).round().astype(int)
        yield _sheet(shown[i % len(shown)], (int(width), int(height)), STRETCH ** random.uniform(-1, 1))


def _sheet(rgb: Pixels, size: tuple[int, int], stretch: float) -> bytes:
    width, height = rgb.shape[1] * stretch, float(rgb.shape[0])
    scale = min(size[0] / width, size[1] / height)
    inner = max(1, int(width * scale)), max(1, int(height * scale))
    border = np.median(np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]]), axis=0)
    sheet = np.full((size[1], size[0], 3), border, np.uint8)
    sheet[: inner[1], : inner[0]] = cv2.resize(
        rgb, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    bgr = cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def measure(archive: Path, pictures: Sequence[Path]) -> None:
    """Print a row after each hundred pictures: of the times of these, and of the memory that the worker then holds."""
    print(f"{'':12}  {'on the clock, ms':>18}  {'of the processor, ms':>23}  {'worker':>7}")
    print(f"{'pictures':12}  {'p50':>6}{'p99':>6}{'ratio':>6}  {'p50':>11}{'p99':>6}{'ratio':>6}  {'MB':>7}")
    with Worker(archive, pictures) as worker:
        times = [worker.ask(0)]
        print(f"{'after 1':12}  {'':18}  {'':23}  {worker.resident() / 1e6:7.0f}", flush=True)
        for number in tqdm(range(1, len(pictures)), "pictures", leave=False):
            times.append(worker.ask(number))
            if not (number + 1) % EVERY:
                clock, processor = (np.percentile(each, (50, 99)) * 1000 for each in zip(*times, strict=True))
                figures = [f"{p50:6.0f}{p99:6.0f}{p99 / p50:6.2f}" for p50, p99 in (clock, processor)]
                span = f"{number + 2 - len(times)} to {number + 1}"
                print(f"{span:12}  {figures[0]}  {figures[1]:>23}  {worker.resident() / 1e6:7.0f}", flush=True)
                if not (number + 1) % (2 * EVERY):
                    times = []


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table → exit status."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.random_sizes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path, metavar="FILE.mar")
    parser.add_argument("pictures", type=Path, nargs="*", metavar="PICTURE", help="with text on them")
    parser.add_argument("--count", type=int, default=400, metavar="N", help="how many pictures are asked (400)")
    options = parser.parse_args(arguments)
    if not zipfile.is_zipfile(options.archive):
        parser.error(f"{options.archive} is no archive; make one with repack.py")
    for path in options.pictures:
        if not path.is_file():
            parser.error(f"{path}: there is no such picture")
    given = [path.read_bytes() for path in options.pictures or [locate("package:skimage/data/page.png")]]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{i}.jpg") for i in range(options.count)]
        for file, sheet in zip(files, sheets(given, options.count), strict=True):
            file.write_bytes(sheet)
        try:
            measure(options.archive, files)
        except RuntimeError as error:
            print(f"random_sizes: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

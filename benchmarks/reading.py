"""ocr1 beside the package rapidocr, on one core each: what both read, and how long a call takes.

    .venv/bin/pip install -r requirements/compare.txt
    .venv/bin/python -m benchmarks.reading --archive model_store/ocr1.mar PICTURE=WORDS.txt ...
    .venv/bin/python -m benchmarks.reading PICTURE=WORDS.txt ...    # the server of `make serve`

It also measures scikit-image's page. WORDS.txt holds the true words, separated by white space. This process keeps to
one core: rapidocr, with OpenVINO and with ONNX Runtime, and an archive have one thread there; a server is where it is.
The processor's time is that of this process: what others do on the machine does not count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import asking, rapid
from benchmarks.asking import Ask
from detserve.pack.weights import locate

CALLS = 9
PAGE = """Region-based segmentation Let us first determine markers of the coins and the background. These markers are
pixels that we can label unambiguously as either object or background. Here, the markers are found at the two extreme
parts of the histogram of grey values: markers = np.zeros_like(coins)"""

Read = Callable[[bytes], list[str]]
"""A picture's bytes → the lines on it."""


def lines_of(ask: Ask) -> Read:
    """An archive or a server."""
    return lambda data: [line["text"] for line in ask(data)]


def peer(runtime: str) -> Read:
    """rapidocr."""
    engine = rapid.engine(runtime)
    return lambda data: list(engine(data).txts or ())


def found(lines: list[str], words: list[str]) -> int:
    """How many of the true words are among the words of the lines, each counted once, in any case."""
    read = [word.lower() for line in lines for word in line.split()]
    count = 0
    for word in words:
        if word.lower() in read:
            read.remove(word.lower())
            count += 1
    return count


def measure(readers: Mapping[str, Read], data: bytes) -> dict[str, tuple[float, float]]:
    """Ask all in turn, so that a slow moment of the machine hits each → medians in ms: on the clock, of the processor.

    A first call of each is left out.
    """
    times: dict[str, list[tuple[float, float]]] = {reader: [] for reader in readers}
    for _ in range(1 + CALLS):
        for reader, read in readers.items():
            wall, cpu = time.perf_counter(), time.process_time()
            read(data)
            times[reader].append((time.perf_counter() - wall, time.process_time() - cpu))
    clock, processor = (
        {reader: statistics.median(each[i] for each in taken[1:]) * 1000 for reader, taken in times.items()}
        for i in (0, 1)
    )
    return {reader: (clock[reader], processor[reader]) for reader in readers}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each picture and reader → exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", metavar="PICTURE=WORDS.txt")
    asking.add_arguments(parser, "ocr1")
    options = parser.parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pictures = {"page.png": (locate("package:skimage/data/page.png").read_bytes(), PAGE.split())}
    for argument in options.pictures:
        picture, _, words = argument.partition("=")
        try:
            pictures[Path(picture).name] = Path(picture).read_bytes(), Path(words).read_text("utf-8").split()
        except OSError as error:
            parser.error(f"{argument}: {error.strerror}; PICTURE=WORDS.txt is wanted")
    try:
        peers = {f"rapidocr, {runtime}": peer(runtime) for runtime in rapid.RUNTIMES}
    except ImportError as error:
        print(f"reading: {error}; pip install -r requirements/compare.txt", file=sys.stderr)
        return 1
    with asking.opened(options) as ask:
        readers = {"ocr1": lines_of(ask({})), **peers}
        print(f"{'picture':28} {'reader':22} {'words':>7} {'ms':>6} {'of ours':>8} {'processor ms':>13} {'of ours':>8}")
        for name, (data, words) in pictures.items():
            times = measure(readers, data)
            ours = times["ocr1"]
            for reader, (clock, processor) in times.items():
                score = f"{found(readers[reader](data), words)}/{len(words)}"
                ratios = (clock / ours[0], processor / ours[1])
                row = f"{clock:6.0f} {ratios[0]:8.2f} {processor:13.0f} {ratios[1]:8.2f}"
                print(f"{name:28} {reader:22} {score:>7} {row}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

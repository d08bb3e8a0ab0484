"""ocr1 through the server beside the package rapidocr in process: what both read, and how long a call takes.

    .venv/bin/pip install -r requirements/compare.txt
    make serve
    .venv/bin/python -m benchmarks.reading PICTURE=WORDS.txt ...

It also measures scikit-image's page. WORDS.txt holds the true words, separated by white space.
"""

from __future__ import annotations

import logging
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import requests

from detserve.pack.weights import locate

URL = "http://127.0.0.1:8080/predictions/ocr1"
CALLS = 9
PAGE = """Region-based segmentation Let us first determine markers of the coins and the background. These markers are
pixels that we can label unambiguously as either object or background. Here, the markers are found at the two extreme
parts of the histogram of grey values: markers = np.zeros_like(coins)"""


def server(data: bytes) -> list[str]:
    """The lines that the running server reads."""
    answer = requests.put(URL, data=data, timeout=60)
    answer.raise_for_status()
    return [line["text"] for line in answer.json()]


def package() -> Callable[[bytes], list[str]]:
    """rapidocr with its defaults, on all cores."""
    from rapidocr import RapidOCR

    logging.disable(logging.CRITICAL)
    engine = RapidOCR()
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


def main() -> None:
    """Time both in turn on each picture, so that a slow moment of the machine hits both."""
    pairs = [argument.partition("=") for argument in sys.argv[1:]]
    pictures = {
        Path(picture).name: (Path(picture).read_bytes(), Path(words).read_text().split()) for picture, _, words in pairs
    }
    pictures["page.png"] = locate("package:skimage/data/page.png").read_bytes(), PAGE.split()
    readers = {"ocr1 through the server": server, "rapidocr in process": package()}
    print(f"{'picture':32} {'reader':26} {'words':>9} {'median ms':>10}")
    for name, (data, words) in pictures.items():
        times: dict[str, list[float]] = {reader: [] for reader in readers}
        lines = {reader: read(data) for reader, read in readers.items()}
        for _ in range(CALLS):
            for reader, read in readers.items():
                start = time.perf_counter()
                read(data)
                times[reader].append((time.perf_counter() - start) * 1000)
        for reader in readers:
            score = f"{found(lines[reader], words)}/{len(words)}"
            print(f"{name:32} {reader:26} {score:>9} {statistics.median(times[reader]):10.0f}")


if __name__ == "__main__":
    main()

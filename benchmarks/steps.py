"""What each setting of ocr1 gives: words found and read with it changed, all else as it is packed.

    .venv/bin/python -m benchmarks.steps DIR ... --archive model_store/ocr1.mar [--only WORD]

DIR: labelled pictures, see benchmarks/icdar.py. Of each it prints the hmean of words, that end to end, and the crops
that are read right; at last how many words of scikit-image's page are read. Any of these settings is packed by
`repack.py ocr1 ... --set KEY=VALUE`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import asking, icdar, reading, words
from benchmarks.words import BadLabels, Labelled
from detserve.errors import DetserveError
from detserve.pack.weights import locate


@dataclass(frozen=True)
class Step:
    """Settings of the detector, or of the reader, in place of those that are packed."""

    detect: Mapping[str, Any] = field(default_factory=dict)
    read: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        detect, read = (", ".join(f"{k} {v}" for k, v in each.items()) for each in (self.detect, self.read))
        return detect or (read and f"reader's {read}") or "as packed"


STEPS = (
    Step(),
    Step({"shrink_to": 0}),
    Step({"dilate": True}),
    Step({"unclip": 1.0}),
    Step({"unclip": 1.4}),
    Step({"margin": 0.0}),
    Step({"threshold": 0.2}),
    Step({"threshold": 0.4}),
    Step({"conf": 0.4}),
    Step({"conf": 0.6}),
    Step({"conf": 0.7}),
    Step(read={"conf": 0.5}),
    Step(read={"conf": 0.7}),
    Step(read={"end": 0}),
    Step(read={"end": 64}),
    Step(read={"trained_width": 0, "end": 0}),
    Step(read={"trained_width": 0, "end": 16}),
    Step(read={"trained_width": 0}),
)
"""trained_width is how wide an input is at least with detection off, end the fill behind any line, in columns."""


def measure(step: Step, sets: Sequence[Labelled], archive: Path) -> str:
    """A row of the table."""
    cells = [str(step)]
    with asking.in_process(archive, step.detect, step.read) as asks:
        split, line, lines = (asks(headers) for headers in ({"X-Split": "words"}, {"X-Detect": "off"}, {}))
        for labelled in sets:
            score = icdar.measure(labelled, lambda path: split(path.read_bytes()), lambda path: line(path.read_bytes()))
            cells += [f"{score.total.hmean:.3f}", f"{score.total.end_to_end:.3f}", str(score.crops_read)]
        page, there = locate("package:skimage/data/page.png").read_bytes(), reading.PAGE.split()
        read = reading.found(reading.lines_of(lines)(page), there)
    return f"| {' | '.join([*cells, f'{read}/{len(there)}'])} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table → exit status."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.steps", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--archive", type=Path, required=True, metavar="FILE.mar")
    parser.add_argument("--only", default="", metavar="WORD", help="only steps that have it in their names")
    options = parser.parse_args(arguments)
    try:
        sets = [words.load(folder) for folder in options.folders]
        columns = [f"{folder.name}: {each}" for folder in options.folders for each in ("hmean", "end to end", "crops")]
        print(f"| changed | {' | '.join(columns)} | page |\n|{'---|' * (len(columns) + 2)}")
        for step in STEPS:
            if options.only in str(step):
                print(measure(step, sets, options.archive), flush=True)
    except (BadLabels, DetserveError) as error:
        print(f"steps: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Resident memory of a pipeline of objects with depth while inputs of ever other shapes come.

python -m tests.harness.shapes FILE.mar    prints JSON: megabytes after each two shapes

In a process of its own: what a server's worker did before would move its memory by more than the shapes do.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.memory import resident, sent, striped
from detserve.bench.engine import packed
from detserve.engines.base import Device
from detserve.options import Options
from detserve.worker.loading import load_pipeline

SHORT = 64
SIDES = range(64, 641, 32)


def main() -> None:
    """Send the longest and the shortest shape, then all between them, lying and standing."""
    with packed(Path(sys.argv[1])) as target:
        pipeline = load_pipeline(target.recipe, target.folder, Device(threads=1))
        options = Options.parse({}, pipeline.spec, target.recipe.options)

        def answer(*sizes: tuple[int, int]) -> float:
            for size in sizes:
                pipeline([(sent(striped(*size), size, pipeline.spec), options)])
            return resident()

        answer((SIDES[-1], SIDES[-1]), (SHORT, SHORT))
        print(json.dumps([answer((SHORT, side), (side, SHORT)) for side in SIDES]))


if __name__ == "__main__":
    main()

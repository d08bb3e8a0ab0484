"""Resident memory of bulk.py and of its processes over many pictures.

.venv/bin/python -m benchmarks.bulk_memory [--pictures 20000] [--every 20] [--archive FILE.mar]

The pictures are those of benchmarks/bulk.py: of four sizes in turn, links to four files.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.bulk import ROOT, album, command
from benchmarks.processes import tree
from detserve.bench.report import align
from detserve.places import MODEL_STORE


def main() -> int:
    """Print a line each so many seconds, and the command's own summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between two lines")
    parser.add_argument("--archive", type=Path, default=MODEL_STORE / "fd1.mar")
    options = parser.parse_args()
    rows = [["second", "MiB of the main process", "of each other"]]
    with tempfile.TemporaryDirectory() as folder:
        pictures = album(Path(folder) / "pictures", options.pictures)
        line = [sys.executable, *command("local", options.archive, pictures, Path(folder) / "rows")]
        start = time.monotonic()
        with psutil.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            while True:
                try:
                    said, _ = process.communicate(timeout=options.every)
                except subprocess.TimeoutExpired:
                    main_process, *others = [f"{each.memory_info().rss / 2**20:.0f}" for each in tree(process)]
                    rows.append([f"{time.monotonic() - start:.0f}", main_process, ", ".join(others)])
                else:
                    break
    print(f"{align(rows)}\n{said}")
    return int(process.returncode)


if __name__ == "__main__":
    sys.exit(main())

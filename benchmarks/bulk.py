"""bulk.py beside the limit of the machine, and beside Ray Data with a plain actor: pictures a second.

.venv/bin/python -m benchmarks.bulk [--pictures 4000] [--rounds 1] [--only limit,local,ray,peer] [--archive FILE.mar]

limit: qpstest.py --mode 2, a process for each core, pictures in memory; local: bulk.py; ray: bulk.py --ray local; peer:
benchmarks/bulk_peer.py, with one actor, for the tasks that decode need a CPU of Ray's as well. All but `limit` read the
same files, one of four sizes each in turn (links to four files: the disk is not what is measured), and are timed
from the first picture on, as `limit` is. They are measured in turns.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from detserve.bench import engine, samples
from detserve.bench.pacer import Closed
from detserve.bench.runner import Runner, Timing
from detserve.bench.summary import NAN, Summary
from detserve.core.machine import cores
from detserve.places import MODEL_STORE

LIMIT_SECONDS = 15.0
NAMES = ("limit", "local", "ray", "peer")
RATE = re.compile(r"([\d.]+) pictures a second")
ROOT = Path(__file__).parents[1]


def album(folder: Path, count: int) -> Path:
    """A folder of so many pictures, in folders of five hundred."""
    folder.mkdir()
    originals = [folder / f"{size}.jpg" for size in samples.MIX]
    for path, size in zip(originals, samples.MIX, strict=True):
        path.write_bytes(samples.of_size(size))
    top = folder / "album"
    for number in range(count):
        path = top / f"{number // 500:03}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals[number % len(originals)], path)
    return top


class Measured(NamedTuple):
    """Pictures a second, seconds of the whole command, processor milliseconds a picture, its start included."""

    rate: float
    whole: float = NAN
    cpu: float = NAN


def limit(archive: Path) -> Measured:
    """The archive's pipeline in a process for each core."""
    # Each as often as there are processes, which take them in turns: so all of them see all sizes.
    sent = [sample.data for sample in samples.load("mix") for _ in range(cores())]
    with engine.packed(archive) as aim, Runner(aim, sent, cores()) as runner:
        run = runner.run(Closed(cores()), Timing(2.0, LIMIT_SECONDS))
    return Measured(Summary.of(run).rate, cpu=1000 * run.cpu / len(run.hits))


def command(name: str, archive: Path, pictures: Path, out: Path) -> list[str]:
    """What runs a contestant."""
    if name == "peer":
        return ["-m", "benchmarks.bulk_peer", str(pictures), str(out), "1"]
    given = ["bulk.py", str(pictures), "--archive", str(archive), "--out", str(out), "--processes", str(cores())]
    return [*given, "--ray", "local"] if name == "ray" else given


def measure(name: str, archive: Path, pictures: Path, count: int) -> Measured:
    """One contestant. What Ray's processes take is not known: they are not the command's."""
    if name == "limit":
        return limit(archive)
    start, before = time.monotonic(), os.times()
    with tempfile.TemporaryDirectory() as out:
        line = [sys.executable, *command(name, archive, pictures, Path(out) / "rows")]
        ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    rate, after = RATE.search(ended.stdout), os.times()
    if ended.returncode or not rate:
        raise SystemExit(f"{name} failed:\n{ended.stdout}{ended.stderr}")
    print(f"{name}: {' | '.join(ended.stdout.splitlines())}", file=sys.stderr, flush=True)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Measured(float(rate[1]), time.monotonic() - start, 1000 * cpu / count if name == "local" else NAN)


def row(*cells: str) -> str:
    """A row of a table in Markdown, as docs/bulk.md has it."""
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default=",".join(NAMES))
    parser.add_argument("--archive", type=Path, default=MODEL_STORE / "fd1.mar")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as a worker of the server and of bulk.py has it
    names = [name for name in NAMES if name in options.only.split(",")]
    measured: dict[str, list[Measured]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        pictures = album(Path(folder) / "pictures", options.pictures)
        for _ in range(options.rounds):
            for name in names:
                measured[name].append(measure(name, options.archive, pictures, options.pictures))
    medians = {name: Measured(*map(statistics.median, zip(*found, strict=True))) for name, found in measured.items()}
    heads = [f"{options.pictures:,} pictures", "pictures a second", "seconds in all", "processor ms a picture"]
    print(row(*heads, *(f"of {name}" for name in names)), row(*["---"] * (len(heads) + len(names))), sep="\n")
    for name, found in medians.items():
        numbers = [f"{number:.1f}" if not math.isnan(number) else "" for number in found]
        print(row(name, *numbers, *(f"{found.rate / medians[other].rate:.2f}" for other in names)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Two archives side by side: how much longer one takes for a picture than the other, whatever their versions.

    .venv/bin/python -m benchmarks.paired OLD.mar NEW.mar PICTURE ... [--rounds 11]

Each archive runs in a process of its own as in TorchServe's worker, with the code that it carries, on one thread. They
are asked in turn, so that a slow moment of the machine hits both; the ratios new / old are medians over the rounds, of
the time on the clock and of the processor's.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import psutil

METRICS = Path(__file__).resolve().parents[1] / "config" / "metrics.yaml"
WARM_UP = 2
"""Requests of each picture before any is timed: the first of a size is slow."""


class Worker:
    """An archive in a process of its own."""

    def __init__(self, archive: Path, pictures: Sequence[Path]) -> None:
        # By its path, not by -m: this checkout's packages must not hide those of the archive.
        command = [sys.executable, *(str(path.resolve()) for path in (Path(__file__), archive, *pictures))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": ""}
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, picture: int) -> tuple[float, float]:
        """Seconds for one picture, by its number: on the clock, of the processor. Raises RuntimeError."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(f"{picture}\n")
            self._process.stdin.flush()
            wall, cpu = map(float, self._process.stdout.readline().split())
        except (OSError, ValueError):
            raise RuntimeError("the worker ended; what it wrote above says why") from None
        return wall, cpu

    def resident(self) -> int:
        """The bytes of memory that it holds."""
        return int(psutil.Process(self._process.pid).memory_info().rss)


def compare(old: Worker, new: Worker, picture: int, rounds: int) -> tuple[float, float, float, float]:
    """Medians: new / old on the clock, new / old of the processor, milliseconds of old, of new."""
    times = []
    for i in range(WARM_UP + rounds):
        if i % 2:
            second, first = new.ask(picture), old.ask(picture)
        else:
            first, second = old.ask(picture), new.ask(picture)
        times.append((first, second))
    times = times[WARM_UP:]
    return (
        statistics.median(new[0] / old[0] for old, new in times),
        statistics.median(new[1] / old[1] for old, new in times),
        statistics.median(old[0] for old, _ in times) * 1000,
        statistics.median(new[0] for _, new in times) * 1000,
    )


def work(archive: str, pictures: Sequence[str]) -> None:
    """The process of a Worker: a line in, the number of a picture; a line out, its seconds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # TorchServe's metrics are printed
    logging.disable(logging.WARNING)
    from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
    from ts.model_loader import TsModelLoader

    metrics = MetricsCacheYamlImpl(config_file_path=str(METRICS))
    metrics.initialize_cache()
    bodies = [Path(picture).read_bytes() for picture in pictures]
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(archive) as mar:
            mar.extractall(folder)
        sys.path.insert(0, folder)
        os.chdir(folder)
        model = json.loads(Path("MAR-INF/MANIFEST.json").read_text())["model"]
        service = TsModelLoader().load(model["modelName"], folder, model["handler"], None, 1, None, True, metrics)
        service.set_cl_socket(None)
        for line in sys.stdin:
            body = {"name": "body", "value": bodies[int(line)], "contentType": "application/octet-stream"}
            wall, cpu = time.perf_counter(), time.process_time()
            reply = service.predict([{"requestId": b"0", "headers": [], "parameters": [body]}])
            seconds = time.perf_counter() - wall, time.process_time() - cpu
            assert b'"code"' not in reply, reply[:500]  # an error; a picture may well show nothing
            print(*seconds, file=answers, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each picture → exit status."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.paired", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, metavar="OLD.mar")
    parser.add_argument("new", type=Path, metavar="NEW.mar")
    parser.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE")
    parser.add_argument("--rounds", type=int, default=11, metavar="N", help="how often each is asked (11)")
    options = parser.parse_args(arguments)
    for path in (options.old, options.new):
        if not zipfile.is_zipfile(path):
            parser.error(f"{path} is no archive; make one with repack.py")
    for path in options.pictures:
        if not path.is_file():
            parser.error(f"{path}: there is no such picture")
    print(f"{'picture':32} {'clock':>6} {'processor':>10} {'old ms':>7} {'new ms':>7}")
    try:
        with Worker(options.old, options.pictures) as old, Worker(options.new, options.pictures) as new:
            for i, picture in enumerate(options.pictures):
                clock, processor, *ms = compare(old, new, i, options.rounds)
                print(f"{picture.name:32} {clock:6.2f} {processor:10.2f} {ms[0]:7.0f} {ms[1]:7.0f}", flush=True)
    except RuntimeError as error:
        print(f"paired: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if __package__:
        sys.exit(main())
    work(sys.argv[1], sys.argv[2:])

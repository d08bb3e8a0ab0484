"""What Java costs in front of the workers: its processor time a request and its memory, flag by flag.

    .venv/bin/python -m benchmarks.java ["-Xmx512m -Xmn128m" ...] [--archive model_store/fd1.mar]

A server for each set of flags, and one as it is shipped. Flags come after those of config/config.properties, and the
last one of a kind counts; NAME=VALUE among them goes into the environment. The servers are measured in turn, and one
that is not measured stands still. The workers answer at once, unless an archive is named. Processor time is that of
all of Java's threads but its compilers', which are busy after a start alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from unittest import mock

import psutil

from benchmarks import plain_archives
from benchmarks.contestants import Contestant, detserve
from detserve.bench import samples
from detserve.bench.pacer import Closed
from detserve.bench.report import Progress, align
from detserve.bench.runner import Runner, Timing
from detserve.bench.summary import Summary
from detserve.bench.target import HttpTarget
from detserve.errors import SetupError

SIZES = ("512x512", "4000x3000")
CALLERS = (1, 4, 16)
FIRST_SECONDS = 10.0
"""Load on each server before the first round: Java compiles what it runs often."""
SHIPPED = "(as shipped)"
KEPT = "-XX:-UseDynamicNumberOfCompilerThreads"
"""Without it compilers' threads end when they have nothing to do, and nobody knows how long they ran."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    """One server under one load. cpu, wakes: Java's milliseconds of processor, and how often one of its threads waited
    for something, a request; rate: answers a second."""

    cpu: float
    wakes: float
    rate: float

    @classmethod
    def median(cls, rounds: Sequence[Figures]) -> Figures:
        """The median of each figure."""
        return cls(*map(statistics.median, zip(*map(astuple, rounds), strict=True)))


def java_of(server: Contestant) -> psutil.Process:
    """Its Java."""
    return next(process for process in server.processes if process.name() == "java")


def spent(java: psutil.Process) -> tuple[float, int]:
    """Seconds of processor of all but the compilers' threads, and how often threads waited, since the start."""
    compiling, waits = 0.0, 0
    for task in Path(f"/proc/{java.pid}/task").iterdir():
        with suppress(OSError):  # a thread that has ended
            name, _, rest = (task / "stat").read_text().rpartition(")")
            if name.partition("(")[2].startswith(("C1 ", "C2 ")):
                compiling += sum(map(int, rest.split()[11:13])) / _TICKS  # utime, stime: see proc(5)
            lines = (task / "status").read_text().splitlines()
            waits += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return sum(java.cpu_times()[:2]) - compiling, waits


def measure(server: Contestant, number: int, callers: int, timing: Timing) -> Figures:
    """Load a server with one of the pictures. Raises SetupError for an answer that is none."""
    java = java_of(server)
    server.let_go()
    cpu, waits = spent(java)
    run = server.runner.run(Closed(callers), timing, only=number)
    cpu_after, waits_after = spent(java)
    server.hold()
    summary = Summary.of(run)
    if summary.errors:
        raise SetupError(f"{server.title}: {dict(summary.errors)}")
    return Figures(1000 * (cpu_after - cpu) / len(run.hits), (waits_after - waits) / len(run.hits), summary.rate)


@contextmanager
def servers(archive: Path, flags: Sequence[str], pictures: Sequence[bytes]) -> Iterator[list[Contestant]]:
    """A server for each set of flags, ready, and standing still."""
    with ExitStack() as stack:
        found = []
        for each in flags:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            words = [] if each == SHIPPED else each.split()
            environment = dict(word.split("=", 1) for word in words if not word.startswith("-"))
            environment["_JAVA_OPTIONS"] = " ".join([KEPT, *(word for word in words if word.startswith("-"))])
            with mock.patch.dict(os.environ, environment):
                url, process = stack.enter_context(detserve(archive, scratch))
            runner = stack.enter_context(Runner(HttpTarget(url), pictures, 1))
            found.append(Contestant(each, runner, process))
            found[-1].hold()
        yield found


def rounds(found: Sequence[Contestant], count: int, seconds: float) -> Mapping[tuple[str, str, int], Figures]:
    """All rounds → their medians, by flags, picture and callers."""
    progress, timing = Progress(), Timing(0.0, seconds)
    for server in found:
        progress.say(f"{server.title}: warming up")
        for number in range(len(SIZES)):
            measure(server, number, CALLERS[-1], Timing(0.0, FIRST_SECONDS / len(SIZES)))
    gathered: dict[tuple[str, str, int], list[Figures]] = defaultdict(list)
    for turn in range(count):
        for number, size in enumerate(SIZES):
            for callers in CALLERS:
                for server in found if turn % 2 == 0 else found[::-1]:
                    progress.say(f"round {turn + 1}/{count}, {size}, {callers}: {server.title}")
                    gathered[server.title, size, callers].append(measure(server, number, callers, timing))
    progress.say("")
    return {key: Figures.median(figures) for key, figures in gathered.items()}


def table(
    found: Sequence[Contestant], results: Mapping[tuple[str, str, int], Figures], name: str, digits: int
) -> Iterator[list[str]]:
    """One of the figures, a line for each set of flags."""
    loads = [(size, callers) for size in SIZES for callers in CALLERS]
    yield [name, *(f"{size}/{callers}" for size, callers in loads)]
    for server in found:
        yield [server.title, *(f"{getattr(results[server.title, *load], name):.{digits}f}" for load in loads)]


def memory(found: Sequence[Contestant]) -> Iterator[list[str]]:
    """Megabytes of each server: resident, and PSS, which counts what processes share once."""
    yield ["MB", "Java, resident", "Java, PSS", "all, PSS", "Java's threads"]
    for server in found:
        java = java_of(server)
        pss = {process: process.memory_full_info().pss for process in server.processes}
        megabytes = (java.memory_info().rss, pss[java], sum(pss.values()))
        yield [server.title, *(f"{each / 1e6:.0f}" for each in megabytes), str(java.num_threads())]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the tables → exit status."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.java", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("flags", nargs="*", help="a set of flags in quotes, which may begin with a dash")
    parser.add_argument("--archive", type=Path, help="what is served")
    parser.add_argument("--rounds", type=int, default=5, help="each measures every picture and load once (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (2)")
    options, flags = parser.parse_known_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as store:
            plain_archives.empty(empty := Path(store, "empty.mar"))
            pictures = [samples.of_size(size) for size in SIZES]
            with servers(options.archive or empty, [SHIPPED, *options.flags, *flags], pictures) as found:
                results = rounds(found, options.rounds, options.seconds)
                tables = [table(found, results, *column) for column in (("cpu", 3), ("wakes", 1), ("rate", 0))]
                print("Java's processor ms a request, its waits a request, answers a second; by picture/callers")
                for each in (*tables, memory(found)):
                    print(f"{align(list(each))}\n")
    except SetupError as error:
        print(f"java: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

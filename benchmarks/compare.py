"""How much of the machine a server of detserve's turns into answers, in one table.

.venv/bin/python -m benchmarks.compare [--model td1]

(a) the limit: as many processes as there are cores run the archive's pipeline in process, from bytes to JSON.
(b) detserve: the same archive behind TorchServe, as `make serve` starts it, with a worker for each core.
(c) plain: a handler as one writes it on the first day (plain_handler.py for faces, plain_text_handler.py for text) on a
    stock TorchServe, the same weights. There is none for ocr1.
(d) hand-built: for faces, the best server of one's own that a day's work gives (hand_built_server.py): FastAPI, two
    workers, OpenVINO in 16 bits, the same weights.
(e) Triton: the same archive by `repack.py --triton`, pictures as bytes over HTTP.
(f) LitServe: the same archive by `repack.py --litserve`.
(g) rapidocr: for ocr1, the package with the same weights on OpenVINO, in process as (a), one thread a process; it needs
    requirements/compare.txt. benchmarks.reading says what both read.

They are measured in turn, again and again, so that whatever else the machine does hits all of them alike; the
figures are medians of the rounds. A server that is not measured stands still.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.ceiling import SIZES, ceiling
from benchmarks.contestants import ROOT, Contestant, contestants
from benchmarks.pages import page
from detserve.archives import archive
from detserve.bench import samples
from detserve.bench.pacer import Closed
from detserve.bench.report import Progress, align
from detserve.bench.runner import Timing
from detserve.bench.summary import NAN, Summary
from detserve.errors import SetupError

CONCURRENCY = (1, 4, 16)
FIRST_SECONDS = 12.0
"""Load on each contestant before the first round, of all pictures: Java compiles what it runs a thousand times."""
STAGES = ("decode", "infer", "post")


@dataclass(frozen=True)
class Figures:
    """One contestant, picture and concurrency. rate: answers a second; p50, p99, stages: milliseconds; cpu, client:
    processor milliseconds a request of the contestant and of the load generator; errors: a count."""

    rate: float
    p50: float
    p99: float
    cpu: float
    client: float
    errors: float
    decode: float = NAN
    infer: float = NAN
    post: float = NAN

    @classmethod
    def median(cls, rounds: Sequence[Figures]) -> Figures:
        """The median of each figure."""
        names = asdict(rounds[0])
        return cls(**{name: statistics.median(getattr(each, name) for each in rounds) for name in names})


Results = Mapping[tuple[str, str, int], Figures]
"""By contestant (its letter), picture and concurrency."""


def measure(contestant: Contestant, number: int, concurrency: int, timing: Timing) -> Figures:
    """Resume a contestant, load it with one of the pictures, suspend it again."""
    contestant.let_go()
    cpu = contestant.cpu()
    run = contestant.runner.run(Closed(concurrency), timing, only=number)
    cpu = contestant.cpu() - cpu
    contestant.hold()
    summary, hits = Summary.of(run), max(1, len(run.hits))
    client = run.cpu if contestant.server else 0.0
    errors = sum(summary.errors.values())
    figures = (summary.rate, summary.p50, summary.p99, 1000 * cpu / hits, 1000 * client / hits, errors)
    return Figures(*figures, **summary.stages)


def rounds(found: Sequence[Contestant], options: argparse.Namespace) -> Results:
    """All rounds → their medians."""
    progress, timing = Progress(), Timing(0.5, options.seconds)
    for contestant in found:
        progress.say(f"{contestant.title}: warming up")
        for number in range(len(SIZES)):
            measure(contestant, number, 4, Timing(0.0, FIRST_SECONDS / len(SIZES)))
    gathered: dict[tuple[str, str, int], list[Figures]] = defaultdict(list)
    for turn in range(options.rounds):
        for number, size in enumerate(SIZES):
            for concurrency in CONCURRENCY:
                for contestant in found:
                    progress.say(f"round {turn + 1}/{options.rounds}, {size}, {concurrency}: {contestant.title}")
                    figures = measure(contestant, number, concurrency, timing)
                    gathered[contestant.title[0], size, concurrency].append(figures)
    progress.say("")
    return {key: Figures.median(figures) for key, figures in gathered.items()}


def throughput(results: Results) -> Iterator[list[str]]:
    """Answers a second, their ratios, and latencies."""
    letters = _letters(results)
    yield ["picture", "callers", *(f"{x} QPS" for x in letters), *(f"b/{x}" for x in letters if x != "b"),
           *(f"{x} p50" for x in letters), *(f"{x} p99" for x in letters), "errors"]  # fmt: skip
    for size in SIZES:
        for concurrency in CONCURRENCY:
            found = {letter: results[letter, size, concurrency] for letter in letters}
            yield [
                size,
                str(concurrency),
                *(f"{each.rate:.1f}" for each in found.values()),
                *(_ratio(found["b"].rate, each.rate) for x, each in found.items() if x != "b"),
                *(f"{each.p50:.1f}" for each in found.values()),
                *(f"{each.p99:.1f}" for each in found.values()),
                "/".join(f"{each.errors:.0f}" for each in found.values()),
            ]


def best(results: Results) -> Iterator[list[str]]:
    """The most answers a second: with 4 callers or with 16. The workers of (d) share connections unevenly, so that it
    may count twice what it answers one caller.
    """
    letters = _letters(results)
    yield ["picture", *(f"{x} QPS" for x in letters), *(f"b/{x}" for x in letters if x != "b")]
    for size in SIZES:
        most = {x: max(results[x, size, callers].rate for callers in CONCURRENCY if callers > 1) for x in letters}
        if "d" in most:
            most["d"] = max(most["d"], 2 * results["d", size, 1].rate)
        ratios = [_ratio(most["b"], rate) for x, rate in most.items() if x != "b"]
        yield [size, *(f"{rate:.1f}" for rate in most.values()), *ratios]


def single(results: Results) -> Iterator[list[str]]:
    """What one caller sees, and where the milliseconds of the pipeline go."""
    letters = _letters(results)
    others = [x for x in letters if x != "b"]
    timed = [x for x in "ab" if x in letters]
    yield ["picture", *(f"{x} {stage}" for stage in STAGES for x in timed), *(f"{x} p50" for x in letters),
           *(f"b - {x}" for x in others)]  # fmt: skip
    for size in SIZES:
        found = {x: results[x, size, 1] for x in letters}
        stages = [f"{getattr(found[x], stage):.2f}" for stage in STAGES for x in timed]
        above = [f"{found['b'].p50 - found[x].p50:.2f}" for x in others]
        yield [size, *stages, *(f"{each.p50:.2f}" for each in found.values()), *above]


def processors(results: Results) -> Iterator[list[str]]:
    """Processor milliseconds a request: of all processes of a contestant, and of the load generator on top."""
    letters = _letters(results)
    yield ["picture", "callers", *(f"{x} CPU" for x in letters), *(f"{x} client" for x in letters if x != "a")]
    for size in SIZES:
        for concurrency in CONCURRENCY:
            found = {letter: results[letter, size, concurrency] for letter in letters}
            cpu = [f"{each.cpu:.2f}" for each in found.values()]
            yield [size, str(concurrency), *cpu, *(f"{each.client:.2f}" for x, each in found.items() if x != "a")]


def _ratio(rate: float, other: float) -> str:
    """The ratio of two rates; "-" when the other answered nothing."""
    return f"{rate / other:.2f}" if other else "-"


def _letters(results: Results) -> list[str]:
    """The contestants, a and b and those that there are besides."""
    return sorted({letter for letter, _, _ in results})


def machine() -> str:
    """The processor, the packages and the load of this machine, on one line."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    packages = ", ".join(f"{name} {version(name)}" for name in ("torchserve", "openvino", "onnxruntime"))
    cores = len(os.sched_getaffinity(0))
    busy = os.getloadavg()[0]
    return f"{cores} × {(names or [platform.machine()])[0]}, {packages}; busy at the start: {busy:.1f} processors"


def sent(task: str) -> list[bytes]:
    """A picture of each size for that task: with a face, or with print."""
    if task == "face":
        return [samples.of_size(size) for size in SIZES]
    return [page(*map(int, size.split("x"))) for size in SIZES]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", default="fd1", help="fd1, td1 or ocr1, for instance (%(default)s)")
    add("--archive", type=Path, help="of (a) and (b) (model_store/MODEL.mar)")
    add("--without", default="", metavar="LETTERS", help="leave these out, ac for instance; (b) is always there")
    add("--rounds", type=int, default=3, help="each measures every picture and concurrency once (%(default)s)")
    add("--seconds", type=float, help="of each measurement (2; of text, which takes longer, 8)")
    add("--json", type=Path, metavar="FILE", help="write the medians there")
    options = parser.parse_args(arguments)
    options.archive = options.archive or ROOT / "model_store" / f"{options.model}.mar"
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all rounds, print the tables → exit status."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers are ended on the way out
    print(machine(), flush=True)
    try:
        task = archive.read(options.archive).recipe.detect.spec().task
        data = sent(task)
        options.seconds = options.seconds or (2.0 if task == "face" else 8.0)
        print(f"\nThe load generator on a server that answers at once:\n{ceiling()}", flush=True)
        with (
            tempfile.TemporaryDirectory() as scratch,
            contestants(options.archive, data, Path(scratch), options.without) as found,
        ):
            show(rounds(found, options), found, options)
    except SetupError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 1
    return 0


def show(results: Results, found: Sequence[Contestant], options: argparse.Namespace) -> None:
    """Print the tables while the servers still run: the figures are not lost where one does not end as it should."""
    print(f"\n{'; '.join(each.title for each in found)}; medians of {options.rounds} rounds; p50, p99 in ms")
    print(align(list(throughput(results))))
    print("\nThe better of 4 and 16 callers\n" + align(list(best(results))))
    print("\nOne caller: milliseconds in the pipeline by stage, and until the answer\n" + align(list(single(results))))
    print("\nProcessor milliseconds a request, all processes of the server\n" + align(list(processors(results))))
    memory = ", ".join(f"{each.title} {each.worker_memory():.0f} MB" for each in found)
    print(f"\nResident memory of a worker: {memory}", flush=True)
    if options.json:
        records = [
            {"contestant": letter, "picture": size, "concurrency": concurrency, **asdict(figures)}
            for (letter, size, concurrency), figures in results.items()
        ]
        options.json.write_text(json.dumps({"machine": machine(), "figures": records}, indent=2) + "\n")
        print(f"wrote {options.json}")


if __name__ == "__main__":
    sys.exit(main())

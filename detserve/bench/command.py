"""Load test: how many pictures a second, and how long each takes. Of a server, or of an archive in process.

python qpstest.py --mode 3 --concurrency 1,4,16          the server, closed loop
python qpstest.py --mode 3 --rate 50,100,200             the server, open loop: latency counts from the schedule
python qpstest.py --mode 3 --find-limit --p99 50         the highest rate whose p99 stays below 50 ms
python qpstest.py --mode 2 --concurrency 1,2             the packed engine of model_store/fd1.mar, without a server
python qpstest.py --mode 1 --backend eager               the same model as PyTorch runs it
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from detserve.client.protocol import ADDRESSES
from detserve.core.machine import cores
from detserve.errors import SetupError
from detserve.places import MODEL_STORE, RESULTS, installing, typed

if TYPE_CHECKING:
    from detserve.bench.pacer import Load
    from detserve.bench.runner import Runner
    from detserve.bench.samples import Sample
    from detserve.bench.summary import Run, Summary
    from detserve.bench.target import Target

MODES = {"1": "torch", "2": "engine", "3": "server"}
EXTRAS = {"torch": "pack", "engine": "serve", "server": "bench"}
"""Where the packages of a mode stand."""


def main(arguments: Sequence[str] | None = None, prog: str = "qpstest.py") -> int:
    """Run the command line → exit status: 1 when nothing could be measured, or no rate keeps the bound asked for."""
    options = parse(arguments, prog)
    name = prog.removesuffix(".py")
    try:
        return run(options, name)
    except SetupError as error:
        print(f"{name}: {error}", file=sys.stderr)
    except ImportError as error:
        print(f"{name}: the package {error.name!r} is missing: {installing(EXTRAS[options.mode])}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
    return 1


def run(options: argparse.Namespace, prog: str) -> int:
    """Measure, print, write the files → exit status.

    Raises SetupError where the first hit fails, a rate or a picture cannot be had, or a file cannot be written.
    """
    from detserve.bench import plot, report, samples
    from detserve.bench.runner import Runner

    sent = samples.load(options.pictures)
    measured: list[Summary] = []
    status = 0
    with target(options) as (aim, name):
        subject = f"{name}; pictures: {options.pictures} ({len(sent)})"
        print(subject, flush=True)
        with Runner(aim, [picture.data for picture in sent], options.processes) as runner:
            answer = runner.probe()
            if not answer.ok:
                raise SetupError(f"{name}: {sent[0].name} is answered {answer.status}{hint(options, answer.body)}")
            if options.vis:
                print(f"drew the answer to {sent[0].name}: {show(sent[0], answer.body)}")
            try:
                status = measure_all(meter(runner, options, measured), options)
            except KeyboardInterrupt:
                print(f"\n{prog}: interrupted; what was measured before:", file=sys.stderr)
                status = 1
    if measured:
        print(report.table(measured))
        write(options.csv, report.to_csv(measured))
        write(options.json, report.to_json(subject, measured))
        write(options.plot, plot.page(subject, measured))
    return status


@contextmanager
def target(options: argparse.Namespace) -> Iterator[tuple[Target, str]]:
    """What is hit, and its name."""
    from detserve.bench.target import GrpcTarget, HttpTarget
    from detserve.bench.v2 import V2Target
    from detserve.client import protocol

    if options.mode == "server":
        url = options.url or ADDRESSES[options.protocol]
        if options.protocol.endswith("grpc"):
            v2 = options.protocol == "triton-grpc"
            yield GrpcTarget(url, options.model, options.token, options.timeout, v2), f"{options.model} at {url}, gRPC"
        elif options.protocol == "triton":
            yield V2Target(url, options.model, options.token, options.timeout), f"{options.model} at {url}, Triton"
        else:
            url = url.rstrip("/") + protocol.path(options.model)
            yield HttpTarget(url, options.token, options.timeout), url
        return
    from detserve.bench import engine

    archive = options.archive or MODEL_STORE / f"{options.model}.mar"
    if options.mode == "engine":
        with engine.packed(archive) as aim:
            yield aim, f"{archive.name} in process, {aim.engines}"
    else:
        with engine.rebuilt(archive, options.backend, options.weights) as aim:
            yield aim, f"the model of {archive.name} in process, {aim.engines}"


def show(picture: Sample, body: bytes) -> Path:
    """Draw an answer on its picture → the file."""
    from detserve.client import drawing
    from detserve.client.answer import parse as parse_answer
    from detserve.client.protocol import Reply
    from detserve.pictures.decode import decode
    from detserve.pictures.depth import WithDepth

    path = RESULTS / f"{Path(picture.name).stem}.drawn.jpg"
    path.parent.mkdir(exist_ok=True)
    data = picture.data.colour if isinstance(picture.data, WithDepth) else picture.data
    drawing.save(drawing.draw(decode(data).rgb, parse_answer(Reply(200, body)).detections), path)
    return path


def hint(options: argparse.Namespace, body: bytes) -> str:
    """What to do about a first hit that fails."""
    if options.mode == "server" and not body:
        return f"; is the server running? {typed('serve')} starts one"
    return f": {body[:300].decode('utf-8', 'replace')}"


def meter(runner: Runner, options: argparse.Namespace, measured: list[Summary]) -> Callable[[Load], Summary]:
    """A function that puts one load on the target, and keeps its figures."""
    from detserve.bench.report import Progress
    from detserve.bench.runner import Timing
    from detserve.bench.summary import Summary, settled

    progress = Progress()
    timing = Timing(options.warmup, options.duration or (60 if options.until_stable else 10))

    def watch(run: Run) -> bool:
        progress.show(run)
        return options.until_stable and settled(run)

    def measure(load: Load) -> Summary:
        progress.say(f"{load}: warming up")
        measured.append(Summary.of(runner.run(load, timing, watch)))
        progress.say("")
        return measured[-1]

    return measure


def measure_all(measure: Callable[[Load], Summary], options: argparse.Namespace) -> int:
    """Every load of the command line, or the search for the limit → exit status."""
    from detserve.bench.limit import find_limit
    from detserve.bench.pacer import Closed, Open

    if not options.find_limit:
        loads: list[Load] = [Closed(int(callers)) for callers in options.concurrency or ()]
        loads += [Open(rate, options.arrivals) for rate in options.rate or ()]
        for load in loads:
            measure(load)
        return 0
    found = find_limit(measure, options.p99, options.arrivals)
    if found is None:
        print(f"no rate keeps p99 below {options.p99:g} ms")
        return 1
    print(f"limit: {found.load} with p99 {found.p99:.1f} ms, below {options.p99:g} ms")
    return 0


def write(path: Path | None, text: str) -> None:
    """Write a file that was asked for. Raises SetupError where that fails."""
    if path:
        try:
            path.write_text(text, "utf-8")
        except OSError as error:
            raise SetupError(f"cannot write {path}: {error.strerror}") from error
        print(f"wrote {path}")


def numbers(kind: Callable[[str], float]) -> Callable[[str], list[float]]:
    """A type of option: '1,4,16' → [1, 4, 16], all above zero."""

    def parse(text: str) -> list[float]:
        values = [kind(part) for part in text.split(",")]
        if min(values) <= 0:
            raise ValueError
        return values

    return parse


def parse(arguments: Sequence[str] | None, prog: str = "qpstest.py") -> argparse.Namespace:
    """The command line."""
    told = (__doc__ or "").replace("python qpstest.py", f"python {prog}" if prog.endswith(".py") else prog)
    parser = argparse.ArgumentParser(prog=prog, description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    modes = {**MODES, **{name: name for name in MODES.values()}}
    add("--mode", choices=modes, default="server", metavar="MODE", help="1 or torch, 2 or engine, 3 or server (3)")
    add("--model", default="fd1", help="name of the served model, or of its archive (%(default)s)")
    add(
        "--pictures",
        default="mix",
        metavar="P",
        help="file, folder, recording, WxH to make one, or mix: four sizes (%(default)s)",
    )
    add("--vis", type=int, choices=(0, 1), default=0, help="1 draws the answer to the first picture into result/")

    load = parser.add_argument_group("load")
    add = load.add_argument
    add("--concurrency", type=numbers(int), metavar="N,...", help="closed loop: callers that wait for answers (1,4,16)")
    add("--rate", type=numbers(float), metavar="R,...", help="open loop: arrivals a second, whatever is answered")
    add("--arrivals", choices=("poisson", "constant"), default="poisson", help="of the open loop (%(default)s)")
    add("--find-limit", action="store_true", help="search the highest rate that keeps --p99, with no error")
    add("--p99", type=float, default=50.0, metavar="MS", help="bound of --find-limit in milliseconds (%(default)s)")
    add("--warmup", type=float, default=2.0, metavar="S", help="seconds before measuring, for each load (%(default)s)")
    add("--duration", type=float, metavar="S", help="seconds of measuring, for each load (10; with --until-stable 60)")
    add(
        "--until-stable", action="store_true", help="end a load before its duration once p99 is the same in both halves"
    )
    add("--processes", type=int, metavar="N", help="load processes (in process: one a core; server: one per four)")

    server = parser.add_argument_group("server")
    add = server.add_argument
    add("--protocol", choices=ADDRESSES, default="http", help="%(default)s, grpc, triton or triton-grpc")
    add("--url", help="where it listens ({http}; gRPC: {grpc}; Triton: {triton})".format(**ADDRESSES))
    add("--token", metavar="KEY", help="of a server that asks for one")
    add("--timeout", type=float, default=30.0, metavar="S", help="seconds for an answer (%(default)s)")

    local = parser.add_argument_group("in process")
    add = local.add_argument
    add("--archive", type=Path, metavar="FILE.mar", help="model_store/MODEL.mar")
    add("--backend", choices=("torchscript", "eager"), default="torchscript", help="of mode 1 (%(default)s)")
    add("--weights", action="append", default=[], metavar="PATH|URL", help="your own, if the archive has such (mode 1)")

    report = parser.add_argument_group("report")
    for kind, what in (("csv", "a line a load"), ("json", "a record a load"), ("plot", "latency against load, HTML")):
        report.add_argument(f"--{kind}", type=Path, metavar="FILE", help=f"write {what}")

    options = parser.parse_args(arguments)
    for path in filter(None, (options.csv, options.json, options.plot)):
        if path.is_dir() or not path.parent.is_dir():  # said before the measurement, not after
            parser.error(f"{path} cannot be written: it is a folder, or its folder is missing")
    options.mode = modes[options.mode]
    if not (options.concurrency or options.rate):
        options.concurrency = [1, 4, 16]
    options.processes = options.processes or (max(1, cores() // 4) if options.mode == "server" else cores())
    return options

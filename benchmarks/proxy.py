"""What the proxy of docker/proxy costs: the server of `make serve` with and without nginx in front, in turns.

.venv/bin/python -m benchmarks.proxy

Both are asked over HTTP by one load process, with the proxy's limits above what it sends. The figures are medians of
the rounds. Needs nginx and envsubst: apt-get install nginx-light gettext-base.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import psutil

from benchmarks.contestants import ROOT, detserve
from detserve.bench import samples
from detserve.bench.pacer import Closed
from detserve.bench.report import Progress, align
from detserve.bench.runner import Runner, Timing
from detserve.bench.summary import Summary
from detserve.bench.target import HttpTarget
from detserve.errors import ServerFailed, SetupError
from detserve.serve.launch import free_ports

ENTRYPOINT = ROOT / "docker" / "proxy" / "entrypoint.sh"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
PROGRAMS = ("nginx", "envsubst")
SIZES = ("512x512", "1920x1440", "4000x3000")
CALLERS = (4, 16)
TLS_REQUESTS = 50
WIDE = dict.fromkeys(("RATE", "BURST", "REQUESTS"), "9999")
"""Limits above what is sent here."""
START_SECONDS, END_SECONDS = 10.0, 10.0
WARMUP_SECONDS = 5.0
"""Java compiles what it runs often."""


@dataclass(frozen=True)
class Proxy:
    """A running proxy. process: nginx's master."""

    port: int
    process: subprocess.Popen[bytes]

    def cpu(self) -> float:
        """Processor seconds of all its processes."""
        return cpu_of(psutil.Process(self.process.pid))


@contextmanager
def proxied(server: int, **variables: object) -> Iterator[Proxy]:
    """The proxy in front of the server at that port of this machine, without TLS unless the variables say so.

    variables: of docs/proxy.md. Raises ServerFailed when it does not start.
    """
    port = free_ports()["port"]
    given = {"SERVER": f"127.0.0.1:{server}", "ADDRESS": "127.0.0.1", "PORT": port, "TLS": "off"} | variables
    environment = {"PATH": PATH} | {name: str(value) for name, value in given.items()}
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile() as log:
        Path(scratch).chmod(0o755)  # started by root, nginx works as another user
        environment["RUN_DIR"] = f"{scratch}/proxy"
        process = subprocess.Popen([ENTRYPOINT], env=environment, stdout=log, stderr=log)
        try:
            _await(process, port, log)
            yield Proxy(port, process)
        finally:
            process.terminate()
            process.wait(END_SECONDS)


def missing() -> list[str]:
    """The programs that the proxy needs and this machine lacks."""
    return [name for name in PROGRAMS if not shutil.which(name, path=PATH)]


def _await(process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        # The check of the configuration listens for a moment, too: only workers answer.
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            if _has_workers(process):
                return
        time.sleep(0.02)
    said = os.pread(log.fileno(), 4096, 0).decode(errors="replace").strip()
    raise ServerFailed(f"the proxy did not start: {said or 'it said nothing'}")


def _has_workers(process: subprocess.Popen[bytes]) -> bool:
    with suppress(psutil.Error):  # one that has just ended
        return any("worker process" in " ".join(each.cmdline()) for each in psutil.Process(process.pid).children())
    return False


@dataclass(frozen=True)
class Figures:
    """One measurement. rate: answers a second; p50, p99: milliseconds; errors: a count; server, proxy: processor
    milliseconds a request of all processes of either."""

    rate: float
    p50: float
    p99: float
    errors: int
    server: float
    proxy: float


Pairs = Mapping[tuple[str, int], Sequence[tuple[Figures, Figures]]]
"""By picture and callers: what was measured directly and through the proxy, one after the other, in each round."""


def cpu_of(process: psutil.Process) -> float:
    """Processor seconds of a process and of all below it."""
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


def certificate(folder: Path) -> dict[str, str]:
    """A certificate of this machine's loopback, made by openssl → the proxy's variables."""
    files = {"TLS_CERTIFICATE": f"{folder}/tls.crt", "TLS_KEY": f"{folder}/tls.key"}
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    make += f" -addext subjectAltName=IP:127.0.0.1 -keyout {files['TLS_KEY']} -out {files['TLS_CERTIFICATE']}"
    subprocess.run(make.split(), check=True, capture_output=True, timeout=30)
    return {"TLS": "on"} | files


def tls(port: int, pictures: Sequence[bytes]) -> Iterator[list[str]]:
    """A table of the proxy's processor milliseconds a request, without and with TLS: one caller, one connection."""
    yield ["picture", "bytes", "without TLS", "with TLS"]
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        secret = certificate(Path(scratch))
        trust = ssl.create_default_context(cafile=secret["TLS_CERTIFICATE"])
        plain, hidden = (stack.enter_context(proxied(port, **WIDE, **more)) for more in ({}, secret))
        connections = {
            plain: HTTPConnection("127.0.0.1", plain.port),
            hidden: HTTPSConnection("127.0.0.1", hidden.port, context=trust),
        }
        for size, picture in zip(SIZES, pictures, strict=True):
            used = {plain: -plain.cpu(), hidden: -hidden.cpu()}
            for _ in range(TLS_REQUESTS):
                for connection in connections.values():
                    connection.request("PUT", "/predictions/fd1", picture)
                    connection.getresponse().read()
            costs = (1000 * (used[proxy] + proxy.cpu()) / TLS_REQUESTS for proxy in connections)
            yield [size, str(len(picture)), *(f"{cost:.2f}" for cost in costs)]
        for connection in connections.values():
            connection.close()


def measure(archive: Path, rounds: int, seconds: float) -> Pairs:
    """All rounds, with a server and a proxy of their own."""
    progress, timing = Progress(), Timing(0.5, seconds)
    pictures = [samples.of_size(size) for size in SIZES]
    pairs: dict[tuple[str, int], list[tuple[Figures, Figures]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        url, server = stack.enter_context(detserve(archive, Path(scratch)))
        port = urlsplit(url).port or 80
        proxy = stack.enter_context(proxied(port, **WIDE))
        urls = url, url.replace(f":{port}/", f":{proxy.port}/")
        direct, through = (stack.enter_context(Runner(HttpTarget(each), pictures, 1)) for each in urls)
        direct.run(Closed(4), Timing(0.0, WARMUP_SECONDS), only=0)

        def load(runner: Runner, callers: int, number: int) -> Figures:
            before = cpu_of(server), proxy.cpu()
            run = runner.run(Closed(callers), timing, only=number)
            used = cpu_of(server) - before[0], proxy.cpu() - before[1]
            summary = Summary.of(run)
            errors = sum(summary.errors.values())
            return Figures(summary.rate, summary.p50, summary.p99, errors, *(1000 * s / len(run.hits) for s in used))

        for turn in range(rounds):
            for number, size in enumerate(SIZES):
                for callers in CALLERS:
                    progress.say(f"round {turn + 1}/{rounds}, {size}, {callers} callers")
                    order = (direct, through) if turn % 2 else (through, direct)
                    found = {each: load(each, callers, number) for each in order}
                    pairs[size, callers].append((found[direct], found[through]))
        progress.say("")
        print("Processor milliseconds of the proxy a request\n" + align(list(tls(port, pictures))), flush=True)
    return pairs


def rows(pairs: Pairs) -> Iterator[list[str]]:
    """The table. ratio: the median of the rounds' ratios of answers a second, through the proxy over directly; CPU:
    processor milliseconds a request through the proxy."""
    yield ["picture", "callers", *(f"{way} {name}" for name in ("QPS", "p50", "p99") for way in ("direct", "proxy")),
           "ratio", "server CPU", "proxy CPU", "errors"]  # fmt: skip
    for (size, callers), found in pairs.items():
        figures = (statistics.median(getattr(pair[way], name) for pair in found)
                   for name in ("rate", "p50", "p99") for way in (0, 1))  # fmt: skip
        ratio = statistics.median(through.rate / direct.rate for direct, through in found)
        server, proxy = (
            statistics.median(getattr(through, name) for _, through in found) for name in ("server", "proxy")
        )
        errors = sum(each.errors for pair in found for each in pair)
        yield [size, str(callers), *(f"{figure:.1f}" for figure in figures), f"{ratio:.3f}",
               f"{server:.2f}", f"{proxy:.2f}", str(errors)]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table → exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    archive = ROOT / "model_store" / "fd1.mar"
    parser.add_argument("--archive", type=Path, default=archive, help="what is served (model_store/fd1.mar)")
    parser.add_argument("--rounds", type=int, default=4, help="each measures every picture once (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (%(default)s)")
    options = parser.parse_args(arguments)
    if lacking := missing():
        print(f"proxy: {' and '.join(lacking)} missing: apt-get install nginx-light gettext-base", file=sys.stderr)
        return 1
    try:
        print(align(list(rows(measure(options.archive, options.rounds, options.seconds)))))
    except SetupError as error:
        print(f"proxy: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

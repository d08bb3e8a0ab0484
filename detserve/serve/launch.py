"""A server in a process of its own: another program starts it, waits until it is ready, and ends it."""

from __future__ import annotations

import functools
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Self, TypedDict, cast

from detserve.errors import ServerFailed
from detserve.places import PACKAGE
from detserve.serve.config import LOOPBACK, Settings

PROGRAM = (sys.executable, "-m", "detserve", "serve")
READY_SECONDS, END_SECONDS = 120.0, 60.0
"""How long a server may take until it is ready, and to end, for it answers what it has taken first."""

_READY = re.compile(r"^Ready in .*\n.*\n", re.MULTILINE)
_PORTS = range(20_000, 30_000)  # below those that the system gives to connections, which might be faster
_PORTS_EACH = 100
_NO_PORTS = f"no ports from {_PORTS.start} to {_PORTS.stop} are left: end the programs that have them"


class Ports(TypedDict):
    """The ports of a server, by the names that Settings has for them."""

    port: int
    management_port: int
    metrics_port: int
    grpc_port: int
    grpc_management_port: int


def free_ports() -> Ports:
    """Ports that nothing listens on just now, and that no other process is given: Settings(..., **free_ports()).

    Raises ServerFailed where others have them all.
    """
    found: list[int] = []
    for port in itertools.islice(_own_ports(), _PORTS_EACH):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            found.append(port)
        if len(found) == len(Ports.__annotations__):
            return cast(Ports, dict(zip(Ports.__annotations__, found, strict=True)))
    raise ServerFailed(_NO_PORTS)


@functools.cache
def _own_ports() -> Iterator[int]:
    """The ports of this process, round and round: a free one might else be chosen twice before anybody listens on it.

    A name in Linux's abstract namespace says whose they are. Its socket is left open, so it lasts as long as we do.
    """
    for start in random.SystemRandom().sample(_PORTS[::_PORTS_EACH], len(_PORTS[::_PORTS_EACH])):
        with socket.socket(socket.AF_UNIX) as claim, suppress(OSError):
            claim.bind(f"\0detserve-ports-{start}")
            claim.detach()
            return itertools.cycle(range(start, start + _PORTS_EACH))
    raise ServerFailed(_NO_PORTS)


def options(settings: Settings) -> list[str]:
    """The settings as the command line of `detserve serve` has them; it has none for preload and config_dir."""
    given: dict[str, object] = {option: port for option, _, port in settings.listeners}
    given |= {"--model-store": settings.model_store, "--run-dir": settings.run_dir}
    if settings.token_auth is not None:
        given["--token-auth"] = "on" if settings.token_auth else "off"
    for name in ("address", "metrics_address", "token_minutes", "stop_timeout"):
        if (value := getattr(settings, name)) != getattr(Settings, name):
            given[f"--{name.replace('_', '-')}"] = value
    return [str(word) for pair in given.items() for word in pair]


class Launched:
    """A server's process. settings: where it listens; process: what was started, Java and the workers below it.

    `with` one, it is ready in the block and ended after it: ServerFailed where it does not start, or ends in a fault.
    What it prints goes into files without a name, never into a pipe that stops it when nobody reads.
    """

    def __init__(
        self,
        settings: Settings,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        cwd: Path = PACKAGE.parent,
    ) -> None:
        self.settings = settings
        self._streams = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115, `end` closes them
        self._said: tuple[str, str] | None = None
        output, errors = self._streams
        # A group of its own: Ctrl-C is for the program that started it, which ends it in its own time.
        self.process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
            process_group=0,
        )  # fmt: skip

    def __enter__(self) -> Self:
        try:
            self.wait_ready()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        status, errors = self.end()
        if status and kind is None:
            raise ServerFailed(f"the server ended with status {status}: {errors[-2000:]}")

    @property
    def url(self) -> str:
        """Where it is asked over HTTP: URL/predictions/NAME."""
        return f"http://{LOOPBACK}:{self.settings.port}"

    @property
    def management(self) -> str:
        """Where its models are registered and described."""
        return f"http://{LOOPBACK}:{self.settings.management_port}"

    @property
    def printed(self) -> str:
        """What it has written to stdout."""
        return self._said[0] if self._said else _text(self._streams[0])

    @property
    def errors(self) -> str:
        """What it has written to stderr."""
        return self._said[1] if self._said else _text(self._streams[1])

    def wait_ready(self, seconds: float = READY_SECONDS) -> str:
        """Return when all its models are ready → what it printed. Raises ServerFailed where it ends or is late."""
        deadline = time.monotonic() + seconds
        while not _READY.search(self.printed):
            if (status := self.process.poll()) is not None:
                said = (self.errors.strip().splitlines() or ["it said nothing"])[-1]
                raise ServerFailed(f"the server ended with status {status} before it was ready: {said}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"the server is not ready after {seconds:.0f} s; see {self.settings.logs}")
            time.sleep(0.02)
        return self.printed

    def end(self, number: int | None = signal.SIGTERM) -> tuple[int, str]:
        """Send that signal, where there is one, and wait for the end → exit status, stderr. Killed when it is late."""
        if number is not None and self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._said = self.printed, self.errors
        for stream in self._streams:
            stream.close()
        return status, self.errors


def launch(settings: Settings, *arguments: str, program: Sequence[str] = PROGRAM) -> Launched:
    """Start a server with these settings and further arguments of `detserve serve`."""
    return Launched(settings, [*program, *arguments, *options(settings)])


def _text(stream: IO[bytes]) -> str:
    """All of a file that another process writes to, whose place in it must stay."""
    return os.pread(stream.fileno(), 1 << 24, 0).decode(errors="replace")

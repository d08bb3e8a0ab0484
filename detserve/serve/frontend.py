"""Frontend: TorchServe's Java process and all processes that it starts, from the check of the ports to their end."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, NoReturn, Self

import psutil

from detserve.errors import BadSpec, ServerFailed
from detserve.places import installing
from detserve.serve.config import Listener, Settings, template, write
from detserve.serve.drain import drain
from detserve.serve.java import find_java, flags
from detserve.serve.netty import write_classes
from detserve.serve.output import Output

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end a server."""

_START_TIMEOUT = 120.0
_STOP_TIMEOUT = 15.0
"""The most seconds for Java to end, and again for what it leaves behind."""
_CLOSING = 10.0
"""Of the time that a server has to end, what is kept for that: Java, drained, takes two or three."""
_KILLING = 4.0
"""Of these, what is kept to kill what has not ended, and to clean up, on a machine that is busy."""
# TorchServe obeys these before the configuration that it is given.
_OVERRIDES = ("TS_CONFIG_FILE", "TS_MODEL_SERVER_HOME", "LOG_LOCATION", "METRICS_LOCATION")


class Frontend:
    """The running server; `with Frontend(settings) as frontend:` starts it and stops it.

    Java runs in a process group of its own, which the Python workers inherit. So Ctrl-C reaches only the process that
    started it, and whatever is left of the group can be ended at once.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._process: subprocess.Popen[str] | None = None
        self._output: Output | None = None
        self._lock: IO[str] | None = None
        self._serving = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start Java and return once all five ports listen.

        Raises ServerFailed when a port is taken, Java or TorchServe is missing, or Java ends, with the cause; BadSpec
        for a variable of the environment that makes no sense.
        """
        settings = self.settings
        check_ports(settings.listeners)
        command = [str(find_java()), *_arguments(settings, _server_home())]
        try:
            self._lock = _lock(settings.run_dir)
            self._clean()
            write(settings)
            write_classes(settings.classes)
            settings.logs.mkdir(exist_ok=True)
            settings.tmp.mkdir(exist_ok=True)
            with _signals_held():  # an exception from a handler must not lose the process
                self._process = subprocess.Popen(
                    command,
                    cwd=settings.run_dir,  # where TorchServe writes its keys
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    process_group=0,
                )
                self._output = Output(self._process)
            self._wait_started(self._process, self._output)
        except OSError as error:
            self.stop()
            raise ServerFailed(f"cannot start TorchServe in {settings.run_dir}: {error}") from error
        except BaseException:
            self.stop()
            raise

    def wait(self) -> NoReturn:
        """Pass on what TorchServe prints until it ends, and raise ServerFailed then.

        When an exception ends the wait, `stop` first lets the accepted requests be answered.
        """
        assert self._process, "wait() needs a started server"
        assert self._output
        self._output.echo = self._serving = True
        status = _status(self._process.wait())
        raise ServerFailed(f"TorchServe ended by itself, {status}; see {self.settings.logs / 'ts_log.log'}")

    def stop(self) -> None:
        """End Java and every worker within the settings' stop_timeout: ask them first, then kill them.

        If `wait` was called, the server is drained before (see `drain`), so long that Java has time to end as well.
        """
        process, self._process = self._process, None
        limit = float(self.settings.stop_timeout)
        deadline = time.monotonic() + limit
        try:
            if self._serving and self._output and process and process.poll() is None:
                self._output.echo = False
                drain(self.settings, process.pid, self._output, limit - min(_CLOSING, limit / 2))
        finally:
            if process is not None:
                left = deadline - time.monotonic() - _KILLING
                _end(process, min(_STOP_TIMEOUT, max(1.0, left)))
            if self._output is not None:
                self._output.join(_STOP_TIMEOUT)
            if self._lock is not None:
                self._clean()
                self._lock.close()
                self._lock = None

    def _clean(self) -> None:
        shutil.rmtree(self.settings.tmp, ignore_errors=True)
        self.settings.key_file.unlink(missing_ok=True)

    def _wait_started(self, process: subprocess.Popen[str], output: Output) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while not output.started.wait(0.05):
            if (status := process.poll()) is not None:
                output.join(_STOP_TIMEOUT)
                raise ServerFailed(f"TorchServe did not start: {output.cause() or _status(status)}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"TorchServe did not start within {_START_TIMEOUT:.0f} s; see {self.settings.logs}")


def check_ports(listeners: Iterable[Listener]) -> None:
    """Raise ServerFailed for a port that cannot be listened on, naming its option and the process that has it."""
    for option, address, port in listeners:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as TorchServe does
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise ServerFailed(f"port {port} is taken{_holder(port)}: choose another with {option}") from error
                raise ServerFailed(f"cannot listen on {address}:{port} ({option}): {error.strerror}") from error


def _holder(port: int) -> str:
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:  # None for another user's process
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""


def _lock(run_dir: Path) -> IO[str]:
    """An open, locked file. Two servers in one run directory would delete each other's files."""
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = (run_dir / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ServerFailed(f"another server runs in {run_dir}: choose another folder with --run-dir") from None
    return lock


def _server_home() -> Path:
    """The folder that holds the package `ts`, found without importing it, which would import torch."""
    package = find_spec("ts")
    if package is None or package.origin is None:
        raise ServerFailed(f"TorchServe is not installed in this Python: {installing('serve')}")
    return Path(package.origin).parents[1]


def _arguments(settings: Settings, home: Path) -> list[str]:
    # Java itself, not the command `torchserve`, whose pid file in /tmp lets no two servers run.
    class_path = settings.classes, home / "ts" / "frontend" / "*"
    return [
        *flags(),
        *template(settings.config_dir).get("vmargs", "").split(),
        f"-Dmodel_server_home={home}",
        f"-Dlog4j.configurationFile={(settings.config_dir / 'log4j2.xml').as_uri()}",
        f"-DLOG_LOCATION={settings.logs}",
        f"-DMETRICS_LOCATION={settings.logs}",
        f"-Djava.io.tmpdir={settings.tmp}",
        *("-cp", os.pathsep.join(map(str, class_path))),
        "org.pytorch.serve.ModelServer",
        *("--python", sys.executable),
        *("-f", str(settings.run_dir / "config.properties")),
        "-ncs",  # no snapshots: what is served is what serve.py registers
    ]


def _environment() -> dict[str, str]:
    threads = os.environ.get("DETSERVE_THREADS", "1")
    if not threads.isdecimal() or int(threads) < 1:  # each worker would say so, and TorchServe start it again
        raise BadSpec(f"DETSERVE_THREADS must be a whole number of at least 1, not {threads!r}")
    environment = {name: value for name, value in os.environ.items() if name not in _OVERRIDES}
    environment.setdefault("OMP_NUM_THREADS", "1")  # there is a worker for each core
    # Workers and Java with one arena of glibc's are as fast, and each is smaller: what one thread frees, another takes.
    environment.setdefault("MALLOC_ARENA_MAX", "1")
    return environment


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back the signals that end a server until the block is left."""
    if threading.current_thread() is not threading.main_thread():  # the only one that handles signals
        yield
        return
    held: list[int] = []
    handlers = {number: signal.signal(number, lambda received, _: held.append(received)) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for received in held:
        signal.raise_signal(received)


def _end(process: subprocess.Popen[str], seconds: float) -> None:
    """End a process, which gets so many seconds, and whatever is left of its group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    left = _group_members(process.pid)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(left, _STOP_TIMEOUT)


def _group_members(group: int) -> list[psutil.Process]:
    members = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group:
                members.append(process)
    return members


def _status(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"with status {code}"

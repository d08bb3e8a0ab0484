"""Small archives without detserve inside, free ports, and serve.py as a user starts it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from detserve.serve.config import Settings

ROOT = Path(__file__).parents[2]

HANDLERS = {
    "echo": """
class Handler:
    def initialize(self, context):
        pass
    def handle(self, rows, context):
        return [bytes(row.get("data") or row.get("body")) for row in rows]
""",
    "slow": """
import time
class Handler:
    def initialize(self, context):
        pass
    def handle(self, rows, context):
        time.sleep(1.5)
        return [bytes(row.get("data") or row.get("body")) for row in rows]
""",
    "hung": """
import time
class Handler:
    def initialize(self, context):
        pass
    def handle(self, rows, context):
        time.sleep(600)
""",
    "lacking": """
import no_such_package
class Handler:
    def initialize(self, context):
        pass
    def handle(self, rows, context):
        return rows
""",
    "late": """
class Handler:
    def initialize(self, context):
        import no_such_package
    def handle(self, rows, context):
        return rows
""",
    "raising": """
class Handler:
    def initialize(self, context):
        try:
            {}["engine"]
        except KeyError as error:
            raise RuntimeError("the engine is for another GPU") from error
    def handle(self, rows, context):
        return rows
""",
    "killed": """
import os, sys
class Handler:
    def initialize(self, context):
        print("CUDA driver is too old", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 9)
    def handle(self, rows, context):
        return rows
""",
}


def write_archive(store: Path, name: str, handler: str = "") -> None:
    """handler: its source; else that of HANDLERS by the archive's name."""
    model = {"modelName": name, "handler": "tiny_handler.py", "modelVersion": "1.0"}
    manifest = {"createdOn": "today", "runtime": "python", "archiverVersion": "0.12.0", "model": model}
    store.mkdir(exist_ok=True)
    with zipfile.ZipFile(store / f"{name}.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("tiny_handler.py", handler or HANDLERS[name])


def free_ports() -> dict[str, int]:
    """Five ports by the names that Settings gives them."""
    names = ("port", "management_port", "metrics_port", "grpc_port", "grpc_management_port")
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in names]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return {name: probe.getsockname()[1] for name, probe in zip(names, probes, strict=True)}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A server of its own ports and folders, whose store has the archive `echo`."""
    write_archive(tmp_path / "store", "echo")
    return Settings(model_store=tmp_path / "store", run_dir=tmp_path / "run", **free_ports())


def _hang_up_by_default() -> None:
    """The tests may run under nohup, which serve.py would inherit and honour."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Served:
    """serve.py in a process."""

    def __init__(self, settings: Settings, *arguments: str) -> None:
        ports = [text for option, _, port in settings.listeners for text in (option, str(port))]
        folders = ["--model-store", str(settings.model_store), "--run-dir", str(settings.run_dir)]
        command = [sys.executable, str(ROOT / "serve.py"), *ports, *folders, "--workers", "1", *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_hang_up_by_default
        )
        self.family: list[psutil.Process] = []

    def wait_ready(self) -> str:
        """→ the hint that follows the line that says it is ready."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("Ready in "):
                self.family = psutil.Process(self.process.pid).children(recursive=True)
                return self.process.stdout.readline().strip()
        raise AssertionError(self.end()[1])

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Send a signal, where there is one, and wait for the end → exit status, stderr."""
        if number is not None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@pytest.fixture
def serve_py() -> Iterator[Callable[..., Served]]:
    """Starts serve.py with these settings and further arguments; ends it with the test."""
    started: list[Served] = []

    def start(settings: Settings, *arguments: str) -> Served:
        started.append(Served(settings, *arguments))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None:
            served.process.terminate()
            served.process.communicate(timeout=60)


def java_processes(settings: Settings) -> list[psutil.Process]:
    """Java and the workers of the server of that run directory, which they carry in their command lines."""
    commands = {process: " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])}
    run_dir = str(settings.run_dir)
    return [process for process, command in commands.items() if run_dir in command and "serve.py" not in command]

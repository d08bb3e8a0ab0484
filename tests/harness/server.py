"""Servers as the tests start them and speak to them: one that is ready, serve.py, and the containers' entry point."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from detserve.serve.config import Settings
from detserve.serve.launch import PROGRAM, Launched, free_ports, options

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"


def read_key(run_dir: Path, kind: str) -> str | None:
    """The current token, "inference" or "management", of the server of that folder; None when it asks for none."""
    path = run_dir / "key_file.json"
    return str(json.loads(path.read_text("utf-8"))[kind]["key"]) if path.exists() else None


@dataclass(frozen=True)
class Server:
    """A running server, its models ready."""

    settings: Settings
    process: subprocess.Popen[bytes]
    """`detserve serve`."""
    ready_seconds: float
    """What it took to start, a measure of how busy this machine is."""

    def predict(self, name: str, data: bytes, **headers: str) -> requests.Response:
        """`curl -T` of a picture to a model; x_conf_threshold="0.1" is the header X-Conf-Threshold."""
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        return requests.put(f"{self.url}/predictions/{name}", data=data, headers=sent, timeout=30)

    @property
    def port(self) -> int:
        return self.settings.port

    @property
    def grpc_port(self) -> int:
        return self.settings.grpc_port

    @property
    def store(self) -> Path:
        return self.settings.model_store

    @property
    def run_dir(self) -> Path:
        return self.settings.run_dir

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def management(self) -> str:
        return f"http://127.0.0.1:{self.settings.management_port}"

    def workers(self, name: str) -> list[Mapping[str, Any]]:
        """What TorchServe says of a model's workers."""
        return self.describe(name)["workers"]

    def describe(self, name: str) -> Mapping[str, Any]:
        """What TorchServe says of a model."""
        (model,) = requests.get(f"{self.management}/models/{name}", timeout=10).json()
        return model

    def pids(self, name: str) -> list[int]:
        return [worker["pid"] for worker in self.workers(name)]

    @property
    def java(self) -> psutil.Process:
        """TorchServe's frontend."""
        return next(child for child in psutil.Process(self.process.pid).children() if child.name() == "java")

    def metrics(self) -> str:
        return requests.get(f"http://127.0.0.1:{self.settings.metrics_port}/metrics", timeout=10).text


@contextmanager
def serving(
    store: Path,
    run_dir: Path,
    *arguments: str,
    starter: Sequence[str | Path] = PROGRAM,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A server with these further arguments, its models ready; ended by SIGTERM, which must leave status 0."""
    settings = Settings(model_store=store, run_dir=run_dir, **free_ports())
    begin = time.monotonic()
    with Launched(settings, [*map(str, starter), *arguments, *options(settings)], env, cwd) as launched:
        yield Server(settings, launched.process, time.monotonic() - begin)


class Served(Launched):
    """serve.py in a process, with a worker a model. family: Java and the workers, once it is ready."""

    def __init__(self, settings: Settings, *arguments: str) -> None:
        self.family: list[psutil.Process] = []
        # The tests may run under nohup, which serve.py would inherit and honour.
        before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        try:
            serve = [sys.executable, str(ROOT / "serve.py"), "--workers", "1"]
            super().__init__(settings, [*serve, *arguments, *options(settings)])
        finally:
            signal.signal(signal.SIGHUP, before)

    @property
    def hint(self) -> str:
        """The line that follows the one that says it is ready."""
        return self.printed.partition("\nReady in ")[2].splitlines()[1]

    def wait_ready(self, *seconds: float) -> str:
        printed = super().wait_ready(*seconds)
        self.family = psutil.Process(self.process.pid).children(recursive=True)
        return printed

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Send a signal, where there is one, and wait for the end → exit status, stderr."""
        return super().end(number)


class Container(Launched):
    """docker/entrypoint.py in a process, with no more of its environment than a container has of its host's."""

    def __init__(self, settings: Settings, *arguments: str, **variables: str) -> None:
        given = options(settings)
        if "ENGINES" in variables:  # the store is that of the engines
            store = given.index("--model-store")
            del given[store : store + 2]
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "JAVA_HOME") if name in os.environ}
        command = [sys.executable, str(DOCKER / "entrypoint.py"), *arguments, *given]
        super().__init__(settings, command, {"WORKERS": "1", **kept, **variables})

    def healthcheck(self) -> tuple[int, list[str]]:
        """→ exit status, lines."""
        return self._script("healthcheck.py")

    def api_key(self) -> str:
        status, (key,) = self._script("api_key.py")
        assert status == 0
        return key

    def _script(self, name: str) -> tuple[int, list[str]]:
        command = [sys.executable, DOCKER / name, self.settings.run_dir]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
        return done.returncode, done.stdout.splitlines()

    def wait_for(self, health: tuple[int, list[str]]) -> None:
        deadline = time.monotonic() + 60
        while (now := self.healthcheck()) != health:
            assert time.monotonic() < deadline, now
            assert self.process.poll() is None, self.errors

    def predict(self, name: str, key: str | None = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return requests.put(f"{self.url}/predictions/{name}", data=b"a picture", headers=headers, timeout=30)

    def fail(self) -> tuple[int, str]:
        """Wait for the end that it comes to by itself → exit status, stderr."""
        return self.end(None)


def java_processes(settings: Settings) -> list[psutil.Process]:
    """Java and the workers of the server of that run directory, which they carry in their command lines."""
    commands = {process: " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])}
    run_dir, starters = str(settings.run_dir), ("serve.py", "detserve serve", "entrypoint.py")
    return [p for p, command in commands.items() if run_dir in command and not any(s in command for s in starters)]

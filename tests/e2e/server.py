"""A running server as the tests speak to it."""

from __future__ import annotations

import select
import signal
import socket
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

ROOT = Path(__file__).parents[2]
READY_SECONDS = 120
SERVE_PY = (sys.executable, ROOT / "serve.py")


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    management_port: int
    metrics_port: int
    grpc_port: int
    store: Path
    run_dir: Path
    process: subprocess.Popen[str]
    """serve.py."""
    ready_seconds: float
    """What it took to start, a measure of how busy this machine is."""

    def predict(self, name: str, data: bytes, **headers: str) -> requests.Response:
        """`curl -T` of a picture to a model; x_conf_threshold="0.1" is the header X-Conf-Threshold."""
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        return requests.put(f"{self.url}/predictions/{name}", data=data, headers=sent, timeout=30)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def management(self) -> str:
        return f"http://127.0.0.1:{self.management_port}"

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
        return requests.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).text


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def port_options() -> dict[str, int]:
    """Free ports for every port option of serve.py."""
    options = ("--port", "--management-port", "--metrics-port", "--grpc-port", "--grpc-management-port")
    return dict(zip(options, free_ports(len(options)), strict=True))


@contextmanager
def serving(
    store: Path,
    run_dir: Path,
    *arguments: str,
    starter: Sequence[str | Path] = SERVE_PY,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """serve.py with these further arguments, its models ready; ended by SIGTERM, which must leave status 0.

    What it says on stderr goes into a file beside the run directory: of bad pictures decoders complain at length.
    """
    ports = port_options()
    command = [*map(str, starter), "--model-store", str(store), "--run-dir", str(run_dir)]
    command += [str(word) for pair in ports.items() for word in pair]
    errors = run_dir.with_suffix(".stderr")
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [*command, *arguments], cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    assert process.stdout is not None
    try:
        lines = []
        begin = time.monotonic()
        deadline = begin + READY_SECONDS
        while not any(line.startswith("Ready in") for line in lines):
            assert select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0], lines
            line = process.stdout.readline()
            assert line, f"serve.py ended with status {process.wait()}: {lines} {errors.read_text()}"
            lines.append(line)
        listening = [ports[f"--{name}"] for name in ("port", "management-port", "metrics-port", "grpc-port")]
        ready_seconds = time.monotonic() - begin
        yield Server(*listening, store=store, run_dir=run_dir, process=process, ready_seconds=ready_seconds)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
        process.stdout.close()
    assert status == 0, errors.read_text()[-2000:]

"""One real server for all end-to-end tests: packed by repack.py's code, started by serve.py, spoken to over HTTP."""

from __future__ import annotations

import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from detserve.packing import Order, pack

ROOT = Path(__file__).parents[2]
READY_SECONDS = 120


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    management_port: int
    metrics_port: int
    store: Path
    run_dir: Path

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
        (model,) = requests.get(f"{self.management}/models/{name}", timeout=10).json()
        return model["workers"]

    def pids(self, name: str) -> list[int]:
        return [worker["pid"] for worker in self.workers(name)]

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


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with fd1 as `make serve` packs it, and fd640, its like at 640 pixels."""
    folder = tmp_path_factory.mktemp("store")
    pack(Order(name="fd1", model="centerface", out=folder))
    pack(Order(name="fd640", model="centerface", out=folder, settings={"size": (640, 640)}))
    return folder


@pytest.fixture(scope="session")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, its models ready; ended by SIGTERM, which must leave status 0."""
    run_dir = tmp_path_factory.mktemp("run")
    ports = free_ports(5)
    options = ("--port", "--management-port", "--metrics-port", "--grpc-port", "--grpc-management-port")
    command = [sys.executable, ROOT / "serve.py", "--workers", "1", "--model-store", store, "--run-dir", run_dir]
    command += [str(word) for pair in zip(options, ports, strict=True) for word in pair]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        lines = []
        deadline = time.monotonic() + READY_SECONDS
        while not any(line.startswith("Ready in") for line in lines):
            assert select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0], lines
            line = process.stdout.readline()
            assert line, f"serve.py ended with status {process.wait()}: {lines}"
            lines.append(line)
        yield Server(*ports[:3], store, run_dir)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
        process.stdout.close()
    assert status == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)

"""One real server for all end-to-end tests: packed by repack.py's code, started by serve.py, spoken to over HTTP."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from detserve.packing import ModelOrder, Order, pack
from tests.e2e.server import Server, port_options

ROOT = Path(__file__).parents[2]
READY_SECONDS = 120


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with fd1, td1 and ocr1 as `make serve` packs them, and fd640, faces at 640 pixels."""
    folder = tmp_path_factory.mktemp("store")
    pack(Order(name="fd1", detect=ModelOrder(model="centerface"), out=folder))
    pack(Order(name="fd640", detect=ModelOrder(model="centerface", settings={"size": (640, 640)}), out=folder))
    detector = ModelOrder(model="ppocrv6-small-det")
    pack(Order(name="td1", detect=detector, out=folder))
    pack(Order(name="ocr1", detect=detector, read=ModelOrder(model="ppocrv6-small-rec"), out=folder))
    return folder


@pytest.fixture(scope="session")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, its models ready; ended by SIGTERM, which must leave status 0."""
    run_dir = tmp_path_factory.mktemp("run")
    ports = port_options()
    command = [sys.executable, ROOT / "serve.py", "--workers", "1", "--model-store", store, "--run-dir", run_dir]
    command += [str(word) for pair in ports.items() for word in pair]
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
        listening = [ports[f"--{name}"] for name in ("port", "management-port", "metrics-port", "grpc-port")]
        yield Server(*listening, store=store, run_dir=run_dir)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
        process.stdout.close()
    assert status == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)

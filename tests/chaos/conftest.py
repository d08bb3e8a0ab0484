"""Servers to be broken: models packed once, a server of two workers that survives, and own ones for what ends one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import PIL.Image
import pytest

from detserve.pack.packer import ModelChoice, PackRequest, pack
from tests.e2e.server import Server, serving

WORKERS = 2
BATCH = 2
"""Most pictures that one worker has in its hands, as in config/fd1.yaml."""


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with fd1 as `make serve` packs it."""
    folder = tmp_path_factory.mktemp("store")
    pack(PackRequest(name="fd1", detect=ModelChoice(model="centerface"), out=folder))
    return folder


@pytest.fixture(scope="module")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of fd1 with two workers, one for each module of tests."""
    with serving(store, tmp_path_factory.mktemp("run"), "fd1", "--workers", str(WORKERS)) as server:
        yield server


@pytest.fixture(scope="session")
def photo(astronaut: bytes) -> bytes:
    """The photograph of a face as a JPEG of some 40 KB."""
    buffer = BytesIO()
    PIL.Image.open(BytesIO(astronaut)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def until(holds: Callable[[], bool], seconds: float) -> float:
    """Wait until it holds → the seconds that it took; fails where that is longer than `seconds`."""
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() - begin < seconds, f"not within {seconds:.0f} s"
        time.sleep(0.02)
    return time.monotonic() - begin


def at_full_strength(server: Server, model: str = "fd1", workers: int = WORKERS) -> bool:
    """Whether all workers of a model are loaded, and not one of them is starting."""
    states = server.workers(model)
    return len(states) == workers and all(worker["status"] == "READY" and worker["pid"] > 0 for worker in states)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.chaos)

"""A server of two workers that survives what is done to it, and stores for the servers that do not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import PIL.Image
import pytest
import requests

from tests.harness.archives import Shelf
from tests.harness.server import Server, serving

WORKERS = 2
BATCH = 2
"""Most pictures that one worker has in its hands, as in config/fd1.yaml."""


@pytest.fixture
def store(shelf: Shelf, tmp_path: Path) -> Path:
    """A model store with fd1, for a server of the test's own."""
    return shelf.store(tmp_path / "store", "fd1")


@pytest.fixture(scope="session")
def _fd1(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("chaos")
    store = shelf.store(folder / "store", "fd1")
    with serving(store, folder / "run", "fd1", "--workers", str(WORKERS)) as server:
        yield server


@pytest.fixture
def server(_fd1: Server) -> Iterator[Server]:
    """The server of fd1 with two workers, the same for all tests: each finds it whole and must leave it whole."""
    assert at_full_strength(_fd1)
    yield _fd1
    assert [model["modelName"] for model in requests.get(f"{_fd1.management}/models", timeout=10).json()["models"]] == [
        "fd1"
    ]
    until(lambda: at_full_strength(_fd1), 5)


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
            if "test_disk" not in item.path.name:
                item.add_marker(pytest.mark.timed)

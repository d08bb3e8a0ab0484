"""One real server for all end-to-end tests: packed by repack.py's code, started by serve.py, spoken to over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.archives import MODELS, Shelf
from tests.harness.server import Server, serving


@pytest.fixture(scope="session")
def store(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with all real archives."""
    return shelf.store(tmp_path_factory.mktemp("store"), *MODELS)


@pytest.fixture(scope="session")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, its models ready; ended by SIGTERM, which must leave status 0."""
    with serving(store, tmp_path_factory.mktemp("run"), "--workers", "1") as server:
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)

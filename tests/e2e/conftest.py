"""One real server for all end-to-end tests: packed by repack.py's code, started by serve.py, spoken to over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detserve.pack.packer import ModelChoice, PackRequest, pack
from tests.e2e.server import Server, serving


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with fd1, td1 and ocr1 as `make serve` packs them, and fd640, faces at 640 pixels."""
    folder = tmp_path_factory.mktemp("store")
    pack(PackRequest(name="fd1", detect=ModelChoice(model="centerface"), out=folder))
    pack(PackRequest(name="fd640", detect=ModelChoice(model="centerface", settings={"size": (640, 640)}), out=folder))
    detector = ModelChoice(model="ppocrv6-small-det")
    pack(PackRequest(name="td1", detect=detector, out=folder))
    pack(PackRequest(name="ocr1", detect=detector, read=ModelChoice(model="ppocrv6-small-rec"), out=folder))
    return folder


@pytest.fixture(scope="session")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, its models ready; ended by SIGTERM, which must leave status 0."""
    with serving(store, tmp_path_factory.mktemp("run"), "--workers", "1") as server:
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)

"""Servers of tiny archives: TorchServe in this process, and serve.py as a user starts it."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from detserve.serve.config import Settings
from detserve.serve.frontend import Frontend
from detserve.serve.launch import free_ports
from tests.harness.archives import HANDLERS, write_archive
from tests.harness.server import Served, java_processes


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A server of its own ports and folders, whose store has the archive `echo`."""
    write_archive(tmp_path / "store", "echo")
    return Settings(model_store=tmp_path / "store", run_dir=tmp_path / "run", **free_ports())


@pytest.fixture
def serve_py() -> Iterator[Callable[..., Served]]:
    """Starts serve.py with these settings and further arguments; ends it with the test."""
    started: list[Served] = []

    def start(settings: Settings, *arguments: str) -> Served:
        started.append(Served(settings, *arguments))
        return started[-1]

    yield start
    for served in started:
        served.process.terminate()
        served.end()


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A server with the API on and no model; its store has all tiny archives.

    Beside the store, "outside" has an archive and what it unpacks to, and two links lead from the store to it.
    """
    folder = tmp_path_factory.mktemp("bare")
    for name in HANDLERS:
        write_archive(folder / "store", name)
    write_archive(folder / "outside", "echo")
    shutil.move(folder / "outside" / "echo.mar", folder / "outside" / "evil.mar")
    with zipfile.ZipFile(folder / "outside" / "evil.mar") as evil:
        evil.extractall(folder / "outside" / "evil")
    (folder / "store" / "elsewhere").symlink_to(folder / "outside")
    (folder / "store" / "linked.mar").symlink_to(folder / "outside" / "evil.mar")
    settings = Settings(model_store=folder / "store", run_dir=folder / "run", **free_ports())
    with Frontend(settings):
        yield settings
    assert java_processes(settings) == []


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """serve.py on all addresses, which serves `echo` to who has a key."""
    folder = tmp_path_factory.mktemp("guarded")
    write_archive(folder / "store", "echo")
    settings = Settings(model_store=folder / "store", run_dir=folder / "run", **free_ports())
    served = Served(replace(settings, address="0.0.0.0"))
    try:
        served.wait_ready()
        yield served
    finally:
        served.process.terminate()
        status, errors = served.end()
    assert status == 0, errors
    assert not settings.key_file.exists()

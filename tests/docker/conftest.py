"""The containers' entry point and healthcheck as processes of this machine, with small archives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from detserve.serve.config import Settings
from detserve.serve.launch import free_ports
from tests.harness.archives import write_archive
from tests.harness.server import Container


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A server of its own ports and folders, whose store has the archive `echo`."""
    write_archive(tmp_path / "store", "echo")
    return Settings(model_store=tmp_path / "store", run_dir=tmp_path / "run", **free_ports())


@pytest.fixture
def container() -> Iterator[Callable[..., Container]]:
    """Starts the entry point with these settings, arguments and variables; ends it with the test."""
    started: list[Container] = []

    def start(settings: Settings, *arguments: str, **variables: str) -> Container:
        started.append(Container(settings, *arguments, **variables))
        return started[-1]

    yield start
    for each in started:
        each.end()

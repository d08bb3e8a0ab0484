"""The containers' entry point and healthcheck as processes of this machine, with small archives."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from detserve.serve.config import Settings
from tests.serve.conftest import free_ports, write_archive

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"


class Container:
    """docker/entrypoint.py in a process, with no more of its environment than a container has of its host's."""

    def __init__(self, settings: Settings, *arguments: str, **variables: str) -> None:
        self.settings = settings
        ports = [text for option, _, port in settings.listeners for text in (option, str(port))]
        folders = ["--run-dir", str(settings.run_dir)]
        if "ENGINES" not in variables:
            folders += ["--model-store", str(settings.model_store)]
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "JAVA_HOME") if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, DOCKER / "entrypoint.py", *arguments, *ports, *folders],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"WORKERS": "1", **kept, **variables},
        )  # fmt: skip

    def wait_ready(self) -> str:
        """→ what it printed until then."""
        assert self.process.stdout is not None
        printed = ""
        for line in self.process.stdout:
            printed += line
            if line.startswith("Ready in "):
                return printed
        raise AssertionError(self.end()[1])

    def end(self) -> tuple[int, str]:
        """Wait for the end, asked for by SIGTERM where it runs → exit status, stderr."""
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors

    def stop(self) -> tuple[int, str]:
        """SIGTERM, as `docker stop` sends it → exit status, stderr."""
        self.process.terminate()
        return self.end()

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
            assert self.process.poll() is None, self.end()

    def predict(self, name: str, key: str | None = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = f"http://127.0.0.1:{self.settings.port}/predictions/{name}"
        return requests.put(url, data=b"a picture", headers=headers, timeout=30)


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
        if each.process.poll() is None:
            each.stop()

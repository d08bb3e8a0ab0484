from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import psutil
import pytest
import requests

from detserve.serve.config import Settings
from detserve.serve.management import Management
from tests.harness.archives import write_archive
from tests.harness.server import Container, read_key

Start = Callable[..., Container]

ONCE = """
import pathlib, time
class Handler:
    def initialize(self, context):
        mark = pathlib.Path({mark!r})
        while not mark.with_suffix(".go").exists():
            time.sleep(0.1)
        if mark.exists():
            time.sleep(600)
        mark.touch()
    def handle(self, rows, context):
        return [b"" for row in rows]
"""
"""Loads when told, and once: a second worker never becomes ready."""


@pytest.mark.e2e
@pytest.mark.slow
def test_red_while_a_model_loads_and_after_its_worker_is_gone(settings: Settings, container: Start) -> None:
    mark = settings.model_store / "mark"
    write_archive(settings.model_store, "once", ONCE.format(mark=str(mark)))
    (status, (line,)) = Container.healthcheck(started := container(settings, MODELS="echo once"))
    assert (status, line) == (1, f"no server has registered its models yet in {settings.run_dir}; see its log")
    started.wait_for((1, ["echo: 1 of 1 workers ready", "once: 0 of 1 workers ready"]))
    ping = f"http://127.0.0.1:{settings.port}/ping"
    headers = {"Authorization": f"Bearer {started.api_key()}"}
    assert requests.get(ping, headers=headers, timeout=10).json() == {"status": "Healthy"}  # which says nothing
    mark.with_suffix(".go").touch()
    started.wait_ready()
    assert started.healthcheck() == (0, ["echo: 1 of 1 workers ready", "once: 1 of 1 workers ready"])
    model = Management(f"http://127.0.0.1:{settings.management_port}", settings.run_dir).describe("once")
    psutil.Process(model["workers"][0]["pid"]).kill()
    started.wait_for((1, ["echo: 1 of 1 workers ready", "once: 0 of 1 workers ready"]))
    assert started.predict("echo", started.api_key()).content == b"a picture"


@pytest.mark.e2e
@pytest.mark.slow
def test_red_without_a_model_or_a_server(settings: Settings, container: Start) -> None:
    started = container(settings, TOKEN_AUTH="off")
    started.wait_ready()
    url = f"http://127.0.0.1:{settings.management_port}/models/echo"
    requests.put(f"{url}?min_worker=0&synchronous=true", timeout=30)
    started.wait_for((1, ["echo: 0 of 0 workers ready"]))
    requests.delete(url, timeout=30)
    status, (line,) = started.healthcheck()
    assert (status, "Model not found: echo" in line) == (1, True)
    started.end()
    status, (line,) = started.healthcheck()
    assert (status, "TorchServe does not answer at " in line) == (1, True)


@pytest.mark.slow
@pytest.mark.e2e
def test_keys_that_have_expired_are_renewed(settings: Settings, container: Start) -> None:
    started = container(settings, TOKEN_MINUTES="1")
    started.wait_ready()
    key_file = settings.run_dir / "key_file.json"
    before = json.loads(key_file.read_text())
    stale = {
        kind: entry | {"expiration time": datetime.now(UTC).isoformat()} if "expiration time" in entry else entry
        for kind, entry in before.items()
    }
    key_file.write_text(json.dumps(stale))
    assert started.healthcheck()[0] == 0
    assert read_key(settings.run_dir, "management") != before["management"]["key"]
    key_file.write_text(json.dumps({**json.loads(key_file.read_text()), "inference": stale["inference"]}))
    key = started.api_key()
    assert key != before["inference"]["key"]
    assert started.predict("echo", before["inference"]["key"]).status_code == 400
    assert started.predict("echo", key).content == b"a picture"

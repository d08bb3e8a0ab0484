"""The API that registers and removes models, where it is on and where it is off, asked of real servers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from detserve.errors import ServerFailed
from detserve.model_config import Serving
from detserve.serving.config import Settings, write
from detserve.serving.frontend import Frontend
from detserve.serving.management import Management
from tests.serving.conftest import Served, free_ports, write_archive

Serve = Callable[..., Served]


# Off: models are loaded at the start


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A server whose two models were named before it started."""
    folder = tmp_path_factory.mktemp("closed")
    write_archive(folder / "store", "echo")
    shutil.copy(folder / "store" / "echo.mar", folder / "store" / "second.mar")
    preload = {
        "echo": Serving(workers=2, batch_size=8, max_batch_delay=0),
        "second": Serving(workers=1, batch_size=1, max_batch_delay=7),
    }
    settings = Settings(model_store=folder / "store", run_dir=folder / "run", preload=preload, **free_ports())
    with Frontend(settings):
        yield settings


@pytest.mark.e2e
def test_models_are_loaded_with_the_workers_and_batches_of_their_settings(closed: Settings) -> None:
    assert closed.preload is not None
    management = Management(f"http://127.0.0.1:{closed.management_port}", closed.run_dir)
    for name, serving in closed.preload.items():
        assert management.wait_ready(name) == serving.workers
        (model,) = requests.get(f"{management.url}/models/{name}", timeout=10).json()
        assert (model["batchSize"], model["maxBatchDelay"]) == (serving.batch_size, serving.max_batch_delay)
        assert (model["minWorkers"], model["maxWorkers"]) == (serving.workers, serving.workers)
        assert (model["responseTimeout"], model["startupTimeout"], model["modelVersion"]) == (120, 120, "1.0")
        url = f"http://127.0.0.1:{closed.port}/predictions/{name}"
        assert requests.put(url, data=b"a picture", timeout=10).content == b"a picture"


@pytest.mark.e2e
def test_nothing_can_be_registered_or_removed(closed: Settings) -> None:
    models = f"http://127.0.0.1:{closed.management_port}/models"
    for method, url in (
        ("POST", f"{models}?url=second.mar&model_name=third&initial_workers=1"),
        ("DELETE", f"{models}/echo"),
        ("DELETE", f"{models}/echo/1.0"),
    ):
        answer = requests.request(method, url, timeout=10)
        assert (answer.status_code, answer.json()["type"]) == (405, "MethodNotAllowedException"), url
    assert {model["modelName"] for model in requests.get(models, timeout=10).json()["models"]} == {"echo", "second"}


@pytest.mark.e2e
def test_serve_py_waits_for_the_models_that_it_named_beforehand(settings: Settings, serve_py: Serve) -> None:
    served = serve_py(settings, "--no-model-api", "--max-batch-delay", "3")
    served.wait_ready()
    (model,) = requests.get(f"http://127.0.0.1:{settings.management_port}/models/echo", timeout=10).json()
    assert [worker["status"] for worker in model["workers"]] == ["READY"]
    assert model["maxBatchDelay"] == 3


@pytest.mark.e2e
def test_a_worker_that_dies_tells_why_there_too(settings: Settings, serve_py: Serve) -> None:
    write_archive(settings.model_store, "raising")
    status, errors = serve_py(settings, "raising", "--no-model-api").end()
    assert status == 1
    assert "serve: raising: a worker died while loading: RuntimeError: the engine is for another GPU" in errors


def test_the_models_stand_in_the_configuration(settings: Settings) -> None:
    def properties(settings: Settings) -> dict[str, str]:
        return dict(line.split("=", 1) for line in write(settings).read_text("ascii").splitlines())

    opened, closed = properties(settings), properties(replace(settings, preload={"echo": Serving(workers=3)}))
    assert (opened["enable_model_api"], closed["enable_model_api"]) == ("true", "false")
    assert "model_snapshot" not in opened
    (entry,) = json.loads(closed["model_snapshot"])["models"]["echo"].values()
    assert (entry["marName"], entry["minWorkers"], entry["maxBatchDelay"]) == ("echo.mar", 3, 0)

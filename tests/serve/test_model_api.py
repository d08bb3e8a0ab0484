"""The API that registers and removes models, where it is on and where it is off, asked of real servers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import quote

import grpc
import pytest
import requests

from detserve.serve.config import Settings, write
from detserve.serve.frontend import Frontend
from detserve.serve.launch import free_ports
from detserve.serve.management import Management
from detserve.serve.model_config import Registration
from tests.harness.archives import write_archive
from tests.harness.server import Served

Serve = Callable[..., Served]


# On: archives of the store by their names, and nothing else


@pytest.fixture
def opened(bare: Settings) -> Settings:
    """A server with the API on and no model."""
    assert requests.get(f"http://127.0.0.1:{bare.management_port}/models", timeout=10).json()["models"] == []
    return bare


@pytest.mark.e2e
@pytest.mark.parametrize(
    "trick",
    [
        "file:///etc/passwd",
        "http://127.0.0.1:{web}/evil.mar",
        "https://127.0.0.1:{web}/evil.mar",
        "http://127.0.0.1:{web}/?file://{store}/evil.mar",
        "ftp://127.0.0.1:{web}/evil.mar",
        "s3://bucket/evil.mar",
        "../outside/evil.mar",
        "%2e%2e/outside/evil.mar",
        "{store}/../outside/evil.mar",
        "{outside}/evil.mar",
        "file:{outside}/evil.mar",
        "fil://{outside}/evil.mar",
        "file://{outside}/evil.mar",
        "file://{store}/../outside/evil.mar",
        "file://{store}/%2e%2e/outside/evil.mar",
        "file://{store}/%2e%2e%2foutside%2fevil.mar",
        "FILE://{store}/%2E%2E%2Foutside%2Fevil.mar",
        "file://localhost{store}/evil.mar",
        "file://{store}/elsewhere/evil.mar",
        "elsewhere/evil.mar",
        "file://{store}/echo.mar",
        "file://{store}/%65cho.mar",
        "file://{store}/echo.mar?version=evil.mar",
        "file://{store}/echo.mar#evil.mar",
        "echo.mar?version=1",
        "echo.mar%00.mar",
    ],
)
def test_tricks_with_urls_are_refused(trick: str, opened: Settings, web: Web) -> None:
    before = sorted(opened.model_store.iterdir())
    outside = opened.model_store.parent / "outside"
    url = trick.format(web=web.port, store=opened.model_store, outside=outside)
    models = f"http://127.0.0.1:{opened.management_port}/models"
    answer = requests.post(f"{models}?model_name=trick&url={quote(url, safe='')}", timeout=20)
    assert answer.status_code == 404, answer.text
    assert answer.json()["type"] == "ModelNotFoundException"
    assert requests.get(models, timeout=10).json()["models"] == []
    assert sorted(opened.model_store.iterdir()) == before  # nothing was copied there
    assert web.asked == []


@pytest.mark.e2e
@pytest.mark.parametrize("url", ["{outside}/evil", "linked.mar"])
def test_what_torchserve_takes_nevertheless(url: str, opened: Settings) -> None:
    """A folder of this machine, and a link in the store: docs/security.md says so, and that --no-model-api helps."""
    models = f"http://127.0.0.1:{opened.management_port}/models"
    path = url.format(outside=opened.model_store.parent / "outside")
    answer = requests.post(f"{models}?model_name=taken&url={quote(path, safe='')}", timeout=20)
    assert answer.status_code == 200, "docs/security.md can be mended"
    assert requests.delete(f"{models}/taken", timeout=20).status_code == 200


class Web:
    """A web server that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                self.send_error(404)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port

    def __enter__(self) -> Web:
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as web:
        yield web


# Off: models are loaded at the start


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A server whose two models were named before it started."""
    folder = tmp_path_factory.mktemp("closed")
    write_archive(folder / "store", "echo")
    shutil.copy(folder / "store" / "echo.mar", folder / "store" / "second.mar")
    preload = {
        "echo": Registration(workers=2, batch_size=8, max_batch_delay=0),
        "second": Registration(workers=1, batch_size=1, max_batch_delay=7),
    }
    settings = Settings(model_store=folder / "store", run_dir=folder / "run", preload=preload, **free_ports())
    with Frontend(settings):
        yield settings


@pytest.mark.slow
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
    # An UnregisterModelRequest whose first field, the name, is "echo".
    with grpc.insecure_channel(f"127.0.0.1:{closed.grpc_management_port}") as channel:
        call = channel.unary_unary("/org.pytorch.serve.grpc.management.ManagementAPIsService/UnregisterModel")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"\x0a\x04echo", timeout=10)
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert refused.value.details().startswith("Model API disabled")
    assert {model["modelName"] for model in requests.get(models, timeout=10).json()["models"]} == {"echo", "second"}


@pytest.mark.e2e
@pytest.mark.slow
def test_serve_py_waits_for_the_models_that_it_named_beforehand(settings: Settings, serve_py: Serve) -> None:
    served = serve_py(settings, "--no-model-api", "--max-batch-delay", "3")
    served.wait_ready()
    (model,) = requests.get(f"http://127.0.0.1:{settings.management_port}/models/echo", timeout=10).json()
    assert [worker["status"] for worker in model["workers"]] == ["READY"]
    assert model["maxBatchDelay"] == 3


@pytest.mark.e2e
@pytest.mark.slow
def test_a_worker_that_dies_tells_why_there_too(settings: Settings, serve_py: Serve) -> None:
    write_archive(settings.model_store, "raising")
    status, errors = serve_py(settings, "raising", "--no-model-api").end()
    assert status == 1
    assert "serve: raising: a worker died while loading: RuntimeError: the engine is for another GPU" in errors


def test_the_models_stand_in_the_configuration(settings: Settings) -> None:
    def properties(settings: Settings) -> dict[str, str]:
        return dict(line.split("=", 1) for line in write(settings).read_text("ascii").splitlines())

    opened, closed = properties(settings), properties(replace(settings, preload={"echo": Registration(workers=3)}))
    assert (opened["enable_model_api"], closed["enable_model_api"]) == ("true", "false")
    assert "model_snapshot" not in opened
    (entry,) = json.loads(closed["model_snapshot"])["models"]["echo"].values()
    assert (entry["marName"], entry["minWorkers"], entry["maxBatchDelay"]) == ("echo.mar", 3, 0)

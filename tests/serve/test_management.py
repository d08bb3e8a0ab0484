from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from detserve.errors import ServerFailed
from detserve.serve.config import Settings
from detserve.serve.launch import free_ports
from detserve.serve.management import Management, last_exception
from detserve.serve.model_config import Registration
from tests.harness.archives import write_archive
from tests.harness.server import Served, java_processes


@pytest.fixture(scope="module")
def server(bare: Settings) -> Iterator[Settings]:
    """The server, without a model again afterwards."""
    yield bare
    for model in requests.get(f"{manage(bare).url}/models", timeout=10).json()["models"]:
        requests.delete(f"{manage(bare).url}/models/{model['modelName']}", timeout=30)


def register(server: Settings, name: str, workers: int = 1) -> Management:
    management = manage(server)
    management.register(f"{name}.mar", name, Registration(workers=workers, batch_size=2, max_batch_delay=5))
    return management


def manage(server: Settings) -> Management:
    return Management(f"http://127.0.0.1:{server.management_port}", server.run_dir)


@pytest.mark.e2e
def test_a_registered_model_is_served(server: Settings) -> None:
    management = register(server, "echo", workers=2)
    assert management.wait_ready("echo") == 2
    (model,) = requests.get(f"{management.url}/models/echo", timeout=10).json()
    assert (model["batchSize"], model["maxBatchDelay"], model["minWorkers"]) == (2, 5, 2)
    url = f"http://127.0.0.1:{server.port}/predictions/echo"
    picture = bytes(range(256)) * 40_000  # 10 MB
    assert requests.put(url, data=picture, timeout=30).content == picture
    assert requests.put(url, data=bytes(34_000_000), timeout=30).status_code == 413
    metrics = requests.get(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=10).text
    assert 'ts_inference_requests_total{model_name="echo"' in metrics
    with pytest.raises(ServerFailed, match=r"refused POST /models \(409\): .*already registered"):
        register(server, "echo")


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("lacking", "ModuleNotFoundError: No module named 'no_such_package'"),
        pytest.param("late", "ModuleNotFoundError: No module named 'no_such_package'", marks=pytest.mark.slow),
        pytest.param("raising", "RuntimeError: the engine is for another GPU", marks=pytest.mark.slow),
        pytest.param("killed", r"it left no exception \(killed, or out of memory\?\)", marks=pytest.mark.slow),
    ],
)
def test_a_worker_that_dies_tells_why_within_seconds(name: str, cause: str, server: Settings) -> None:
    begin = time.monotonic()
    management = register(server, name)
    with pytest.raises(ServerFailed, match=f"^{name}: a worker died while loading: {cause}") as caught:
        management.wait_ready(name)
    assert time.monotonic() - begin < 30
    assert "\n" not in str(caught.value)
    requests.delete(f"{management.url}/models/{name}", timeout=30)  # it would be tried again and again


@pytest.mark.e2e
def test_a_version_that_does_not_say_when_it_is_done_stays(server: Settings) -> None:
    archive = server.model_store / "newer.mar"
    with zipfile.ZipFile(server.model_store / "echo.mar") as mar:
        files = {name: mar.read(name) for name in mar.namelist()}
    with zipfile.ZipFile(archive, "w") as mar:
        for name, content in files.items():
            mar.writestr(name, content.replace(b'"modelVersion": "1.0"', b'"modelVersion": "2.0"'))
    management = manage(server)
    management.register("newer.mar", "echo", Registration(workers=1, batch_size=2, max_batch_delay=5))
    management.wait_ready("echo", "2.0")
    with pytest.raises(
        ServerFailed, match=r"echo/2\.0 does not say when it is done.*curl -X DELETE .*/models/echo/2\.0 "
    ):
        management.retire("echo", "2.0")
    assert [each["modelVersion"] for each in management.versions("echo")] == ["1.0", "2.0"]
    requests.delete(f"{management.url}/models/echo/2.0", timeout=30)


@pytest.mark.e2e
def test_only_archives_of_the_store_are_taken(server: Settings, tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match=r"refused POST /models \(404\): .*nowhere\.mar"):
        manage(server).register("nowhere.mar", "nowhere", Registration(workers=1))
    write_archive(tmp_path, "echo")
    with pytest.raises(ServerFailed, match="does not match any allowed"):
        manage(server).register(f"file://{tmp_path}/echo.mar", "other", Registration(workers=1))


@pytest.mark.e2e
def test_the_time_limit_is_told(server: Settings) -> None:
    management = manage(server)
    requests.put(f"{management.url}/models/echo?min_worker=3", timeout=30)
    with pytest.raises(ServerFailed, match=r"^echo: \d of 3 workers ready after 0 s; see "):
        management.wait_ready("echo", timeout=0)


@pytest.mark.e2e
@pytest.mark.slow
def test_a_model_that_does_not_load_ends_the_server(settings: Settings, serve_py: Callable[..., Served]) -> None:
    write_archive(settings.model_store, "raising")
    status, errors = serve_py(settings).end()
    assert status == 1
    (line,) = errors.splitlines()
    assert line.startswith(
        "serve: raising: a worker died while loading: RuntimeError: the engine is for another GPU (see "
    )
    assert java_processes(settings) == []


def test_where_nothing_answers_that_is_said(tmp_path: Path) -> None:
    port = free_ports()["port"]
    with pytest.raises(ServerFailed, match=f"TorchServe does not answer at http://127.0.0.1:{port}"):
        Management(f"http://127.0.0.1:{port}", tmp_path).wait_ready("echo")


def test_keys_are_read_from_the_run_directory(tmp_path: Path) -> None:
    management = Management("http://127.0.0.1:1", tmp_path)
    assert management.key("inference") is None
    good = {"expiration time": "2999-01-01T00:00:00.000000Z"}
    keys = {"management": {"key": "a", **good}, "inference": {"key": "b", **good}}
    (tmp_path / "key_file.json").write_text(json.dumps(keys))
    assert management.key("inference") == "b"


def test_torchserves_own_exceptions_are_not_the_cause() -> None:
    assert last_exception(["INFO", "Error: not in a traceback"]) is None
    chained = [
        "Engine worker process died.",
        "Traceback (most recent call last):",
        '  File "handler.py", line 1, in <module>',
        "detserve.errors.BackendMissing: no TensorRT: pip install tensorrt",
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        "Traceback (most recent call last):",
        "    module = importlib.import_module(module_name, 'ts.torch_handler')",
        "ModuleNotFoundError: No module named 'ts.torch_handler.handler'",
        "Traceback (most recent call last):",
        "RuntimeError: 500 - Unknown exception",
    ]
    assert last_exception(chained) == "detserve.errors.BackendMissing: no TensorRT: pip install tensorrt"

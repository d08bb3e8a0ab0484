from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from detserve.places import packing
from detserve.serve.config import Settings
from tests.harness.archives import write_archive
from tests.harness.server import ROOT, Container, java_processes

Start = Callable[..., Container]


def management(settings: Settings, path: str) -> list[dict]:
    return requests.get(f"http://127.0.0.1:{settings.management_port}{path}", timeout=10).json()


@pytest.mark.slow
@pytest.mark.e2e
def test_the_environment_says_what_is_served_and_how(settings: Settings, container: Start) -> None:
    shutil.copy(settings.model_store / "echo.mar", settings.model_store / "second.mar")
    variables = {"MODELS": "echo=2 second", "BATCH_SIZE": "4", "MAX_BATCH_DELAY": "7", "TOKEN_AUTH": "off"}
    started = container(settings, **variables, METRICS_ADDRESS="0.0.0.0")
    assert "No keys are asked for" in started.wait_ready()
    assert started.predict("echo").content == started.predict("second").content == b"a picture"
    for name, workers in (("echo", 2), ("second", 1)):
        (model,) = management(settings, f"/models/{name}")
        assert (model["minWorkers"], model["batchSize"], model["maxBatchDelay"]) == (workers, 4, 7)
    java = next(process for process in java_processes(settings) if "java" in process.name())
    listening = {c.laddr.port: c.laddr.ip.removeprefix("::ffff:") for c in java.net_connections() if not c.raddr}
    everywhere = {settings.port, settings.grpc_port, settings.metrics_port}
    assert {port for port, address in listening.items() if address in ("::", "0.0.0.0")} == everywhere
    assert {address for port, address in listening.items() if port not in everywhere} == {"127.0.0.1"}
    assert started.end() == (0, "")
    assert java_processes(settings) == []


@pytest.mark.e2e
@pytest.mark.slow
def test_calls_need_the_key_that_the_container_hands_out(settings: Settings, container: Start) -> None:
    started = container(settings)
    assert "Calls need a key: KEY=$(docker exec " in started.wait_ready()
    assert started.predict("echo").status_code == 400
    key = started.api_key()
    assert started.predict("echo", key).content == b"a picture"
    # All of a year from now on, as long as the container may run.
    assert "good for 527040 minutes" in started.printed
    assert started.healthcheck() == (0, ["echo: 1 of 1 workers ready"])


@pytest.mark.e2e
@pytest.mark.slow
def test_a_model_that_does_not_load_ends_the_container_with_its_reason(settings: Settings, container: Start) -> None:
    write_archive(settings.model_store, "raising")
    status, errors = container(settings, MODELS="echo raising").fail()
    assert status == 1
    assert errors.startswith("serve: raising: a worker died while loading: RuntimeError: the engine is for another GPU")
    assert errors.count("\n") == 1
    assert java_processes(settings) == []


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("api", [pytest.param("", id="model api"), pytest.param("1", id="no model api")])
def test_a_broken_model_is_left_out_where_that_is_tolerated(api: str, settings: Settings, container: Start) -> None:
    write_archive(settings.model_store, "raising")
    (settings.model_store / "cut.mar").write_text("cut short")
    started = container(
        settings, MODELS="raising echo cut nowhere", TOLERATE_BROKEN="1", TOKEN_AUTH="off", NO_MODEL_API=api
    )
    assert "echo (1 worker); left out: cut, nowhere, raising\n" in started.wait_ready()
    assert started.predict("echo").content == b"a picture"
    status, lines = started.healthcheck()
    assert status == 0
    assert lines[0] == "echo: 1 of 1 workers ready"
    reasons = {line.partition(" is left out: ")[0]: line for line in lines[1:]}
    assert set(reasons) == {"cut", "nowhere", "raising"}
    assert "RuntimeError: the engine is for another GPU" in reasons["raising"]
    served = {model["modelName"] for model in management(settings, "/models")["models"]}
    assert served == ({"echo", "raising"} if api else {"echo"})  # without the API none can be removed
    status, errors = started.end()
    assert status == 0
    told = [line for line in errors.splitlines() if line.startswith("serve: ")]
    assert [line.split()[1] for line in told] == ["cut", "nowhere", "raising"]


@pytest.mark.e2e
@pytest.mark.slow
def test_where_none_is_left_the_container_ends(settings: Settings, container: Start) -> None:
    write_archive(settings.model_store, "raising")
    status, errors = container(settings, MODELS="raising", TOLERATE_BROKEN="true").fail()
    assert status == 1
    assert errors.splitlines()[-1] == ("serve: none of the models can be served: raising; the lines above say why")
    assert java_processes(settings) == []


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TOLERATE_BROKEN": "maybe"}, "TOLERATE_BROKEN is on or off, 1 or 0, true or false, yes or no, not 'maybe'"),
        ({"NO_MODEL_API": "2"}, "NO_MODEL_API is on or off, 1 or 0, true or false, yes or no, not '2'"),
        ({"TOKEN_AUTH": "perhaps"}, "TOKEN_AUTH is on or off, 1 or 0, true or false, yes or no, not 'perhaps'"),
        ({"MODELS": "echo=two"}, "MODELS is NAME or NAME=WORKERS each, 'fd1=2 td1' for instance, not 'echo=two'"),
        ({"MODELS": "echo =2"}, "MODELS is NAME or NAME=WORKERS each, 'fd1=2 td1' for instance, not '=2'"),
        ({"MODELS": "echo echo=2"}, "MODELS names echo twice"),
        ({"MODELS": "echo fd9"}, "MODELS: no archive of fd9 in {store}, only echo"),
        ({"WORKERS": "-1"}, "WORKERS is a whole number from 0 to 1000, not '-1'"),
        ({"BATCH_SIZE": "abc"}, "BATCH_SIZE is a whole number from 1 to 1000, not 'abc'"),
        ({"BATCH_SIZE": "0"}, "BATCH_SIZE is a whole number from 1 to 1000, not '0'"),
        ({"MAX_BATCH_DELAY": "2.5"}, "MAX_BATCH_DELAY is a whole number from 0 to 60000, not '2.5'"),
        ({"TOKEN_MINUTES": "0"}, "TOKEN_MINUTES is a whole number from 1 to 5270400, not '0'"),
        ({"TOKEN_MINUTES": "9" * 5000}, f"TOKEN_MINUTES is a whole number from 1 to 5270400, not '{'9' * 40}'"),
        ({"STOP_TIMEOUT": "60s"}, "STOP_TIMEOUT is a whole number from 1 to 86400, not '60s'"),
        ({"DETSERVE_THREADS": "abc"}, "DETSERVE_THREADS is a whole number from 1 to 1000, not 'abc'"),
        ({"METRICS_ADDRESS": "localhost"}, "METRICS_ADDRESS is an IPv4 address, 0.0.0.0 for instance, not 'localhost'"),
        ({"ENGINES": "/nowhere", "MODELS": "fd1", "BACKEND": "trt"},
         "BACKEND is one of auto, eager, onnx, openvino, tensorrt, torchscript, not 'trt'"),
        ({"ENGINES": "/nowhere", "MODELS": "fd1", "PRECISION": "half"},
         "PRECISION is one of auto, fp32, fp16, bf16, int8, not 'half'"),
        ({"ENGINES": "/proc/version", "MODELS": "fd1"},
         "ENGINES is a folder that this user may write, '/proc/version' is not: mount a volume there"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_its_name_before_anything_is_said(
    variables: dict[str, str], message: str, settings: Settings, container: Start
) -> None:
    started = container(settings, **variables)
    expected = f"entrypoint: {message.format(store=settings.model_store)}\n"
    assert started.fail() == (1, expected)
    assert started.printed == ""
    assert not settings.run_dir.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fd1=x"], "argument NAME[=WORKERS]: 'fd1=x' is not NAME or NAME=WORKERS, fd1=2 for instance"),
        (["--batch-size", "many"], "argument --batch-size: invalid int value: 'many'"),
        (["--batchsize", "2"], "unrecognized arguments: --batchsize"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_likewise(
    arguments: list[str], message: str, settings: Settings, container: Start
) -> None:
    started = container(settings, *arguments)
    assert started.fail() == (1, f"entrypoint: {message}\n")
    assert started.printed == ""


def test_an_empty_store_is_said_to_be_one(settings: Settings, container: Start) -> None:
    (settings.model_store / "echo.mar").unlink()
    message = f"entrypoint: MODELS: no archive of fd1 in {settings.model_store}, which has none\n"
    assert container(settings, MODELS="fd1").fail() == (1, message)


def test_engines_that_cannot_be_kept_end_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the entry point saw a folder that it might write: on a full disk, for instance."""
    monkeypatch.syspath_prepend(ROOT / "docker")
    import engines

    monkeypatch.setattr(engines, "device", lambda: "cpu")
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"^engines: ENGINES: cannot write .*: Not a directory; mount a volume"):
        engines.prepare(tmp_path / "file", ["fd1"], "onnx", None, tolerant=True)


@pytest.mark.parametrize("word", ["false", "No", "0", "OFF"])
def test_every_usual_word_for_off_is_taken(word: str, settings: Settings, container: Start) -> None:
    started = container(settings, "fd9", TOKEN_AUTH=word)  # ends by itself: there is no fd9
    assert started.fail() == (1, f"serve: no {settings.model_store}/fd9.mar, only echo: {packing('fd9')}\n")
    assert "No keys are asked for" in started.printed


def test_the_backends_and_precisions_are_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docker")
    import entrypoint

    from detserve import engines

    found = {precision for name in engines.ADAPTERS for precision in engines._adapter(name).precisions}
    assert {entrypoint.CHECKS["BACKEND"](name) for name in ("auto", *engines.ADAPTERS)} == {"auto", *engines.ADAPTERS}
    assert {entrypoint.CHECKS["PRECISION"](name) for name in found} == found


@pytest.mark.e2e
@pytest.mark.slow
def test_without_models_all_of_the_store_are_served(settings: Settings, container: Start) -> None:
    shutil.copy(settings.model_store / "echo.mar", settings.model_store / "second.mar")
    started = container(settings)
    assert "echo (1 worker), second (1 worker)" in started.wait_ready()


# Engines that are built when the container starts


@pytest.mark.e2e
@pytest.mark.slow
def test_engines_are_packed_once_and_kept_for_this_machine(
    settings: Settings, container: Start, tmp_path: Path, astronaut: bytes
) -> None:
    variables = {"ENGINES": str(tmp_path / "engines"), "BACKEND": "onnx", "PRECISION": "fp32", "MODELS": "fd1"}
    started = container(settings, **variables, TOKEN_AUTH="off")
    assert "Engine 1 of 1: fd1, onnx, into " in started.wait_ready()
    url = f"http://127.0.0.1:{settings.port}/predictions/fd1"
    assert len(requests.put(url, data=astronaut, timeout=30).json()) == 1
    assert started.end()[0] == 0
    (archive,) = (tmp_path / "engines").rglob("*.mar")
    packed = archive.stat().st_mtime_ns
    again = container(settings, **variables, TOKEN_AUTH="off")
    assert "Engine" not in again.wait_ready()
    assert [path.stat().st_mtime_ns for path in (tmp_path / "engines").rglob("*.mar")] == [packed]


@pytest.mark.e2e
@pytest.mark.slow
def test_an_engine_that_cannot_be_built_ends_the_container_or_is_left_out(
    settings: Settings, container: Start, tmp_path: Path
) -> None:
    variables = {"ENGINES": str(tmp_path / "engines"), "BACKEND": "torchscript", "TOKEN_AUTH": "off"}
    status, errors = container(settings, **variables, MODELS="td1").fail()
    assert status == 1
    assert "repack: ppocrv6-small-det is an ONNX file, which torchscript cannot run" in errors
    assert errors.splitlines()[-1].startswith("engines: td1 has no engine for ")
    tolerant = container(settings, **variables, MODELS="td1 fd1", TOLERATE_BROKEN="1")
    assert "fd1 (1 worker); left out: td1\n" in tolerant.wait_ready()
    assert container(settings, **variables).fail()[1].startswith("engines: MODELS names the models")


def test_another_gpu_another_state_of_the_code_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.syspath_prepend(ROOT / "docker")
    import engines

    folders = {engines._digest(*choice) for choice in (("onnx", None), ("onnx", "fp32"), ("tensorrt", "fp16"))}
    assert len(folders) == 3
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA GeForce RTX 4090 (eng/2)")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 9))
    monkeypatch.setitem(sys.modules, "tensorrt", type(sys)("tensorrt"))
    sys.modules["tensorrt"].__version__ = "10.13.3.9"
    assert engines.device() == "NVIDIA-GeForce-RTX-4090-eng-2--sm89-trt10.13.3.9"

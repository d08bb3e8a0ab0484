"""Every way to make the server answer with an error: none shows a stack trace, a path or a version."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import requests

import detserve
from detserve.client import grpc as grpc_client
from detserve.pack.packer import ModelChoice, PackRequest, pack
from tests.e2e.own_model import POISON, STUMBLE
from tests.harness.server import Server

QUEUE = 100
"""job_queue_size of config/config.properties."""
JSON = {"Content-Type": "application/json"}
MULTIPART = {"Content-Type": "multipart/form-data"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PATH = re.compile(r"(?:/[\w.-]+){2,}|[A-Z]:\\|\.py\b|\.java\b|\.jar\b|\bsite-packages\b")
TRACE = re.compile(r"Traceback|\bline \d+|\bat [\w.$]+\(|File \"|Caused by|\bat 0x[0-9a-f]+")
JAVA = re.compile(r"\n?org\.pytorch\.serve\.[\w.]+Exception$")
"""TorchServe ends the details of its gRPC errors so; docs/security.md says it."""


@pytest.fixture(scope="module")
def failing(server: Server) -> Iterator[str]:
    """The name of a model that fails when it is asked to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        pack(PackRequest(name="failing", detect=ModelChoice(model="own_model:Spec"), out=server.store))
    query = "url=failing.mar&initial_workers=1&synchronous=true"
    assert requests.post(f"{server.management}/models?{query}", timeout=60).status_code == 200
    yield "failing"
    requests.delete(f"{server.management}/models/failing", timeout=60)


def tells_nothing(server: Server, text: str) -> None:
    assert not TRACE.search(text), text
    assert not PATH.search(text), text
    assert str(server.store) not in text and str(server.run_dir) not in text
    versions = {
        version(name) for name in ("torchserve", "torch", "numpy", "pillow", "opencv-python-headless", "openvino")
    }
    assert not [each for each in (*versions, f"detserve {detserve.__version__}") if each in text], text


def check(server: Server, answer: requests.Response, *statuses: int) -> str:
    """→ the type of the error."""
    assert answer.status_code in statuses, answer.text
    tells_nothing(server, answer.text)
    tells_nothing(server, "\n".join(f"{name}: {value}" for name, value in answer.headers.items()))
    assert not {"server", "x-powered-by", "via"} & {name.lower() for name in answer.headers}
    if not answer.content:
        return ""
    body = answer.json()
    assert set(body) == {"code", "type", "message"}
    assert body["code"] == answer.status_code
    return body["type"]


@pytest.mark.parametrize(
    ("method", "path", "given", "status", "kind"),
    [
        ("PUT", "/predictions/fd9", {}, 404, "ModelNotFoundException"),
        ("PUT", "/predictions/fd1/9.9", {}, 404, "ModelVersionNotFoundException"),
        ("PUT", "/predictions/%2e%2e%2fetc", {}, 404, "ModelNotFoundException"),
        ("PUT", "/predictions/a%0d%0ab", {}, 404, "ModelNotFoundException"),
        ("PUT", "/predictions", {}, 404, "ResourceNotFoundException"),
        ("GET", "/nothing/at/all", {}, 404, "ResourceNotFoundException"),
        ("GET", "/models", {}, 404, "ResourceNotFoundException"),
        ("GET", "/metrics", {}, 404, "ResourceNotFoundException"),
        ("GET", "/", {}, 405, "MethodNotAllowedException"),
        ("DELETE", "/", {}, 405, "MethodNotAllowedException"),
        ("POST", "/wfpredict/fd1", {}, 404, "WorkflowNotFoundException"),
        ("POST", "/invocations", {}, 400, "BadRequestException"),
        ("GET", "/predictions/fd1", {}, 400, "bad_picture"),
        ("DELETE", "/predictions/fd1", {}, 400, "bad_picture"),
        ("PATCH", "/predictions/fd1", {}, 400, "bad_picture"),
        ("POST", "/explanations/fd1", {"data": b"x"}, 400, "bad_picture"),
        ("POST", "/fd1/predict", {"data": b"x"}, 400, "bad_picture"),
        ("POST", "/v1/models/fd1:predict", {"data": b"x"}, 400, "bad_picture"),
        ("POST", "/v1/models/fd1:predict", {"json": {"instances": []}}, 400, "bad_request"),
        ("POST", "/v2/models/fd1/infer", {"json": {"inputs": []}}, 400, "bad_request"),
        ("POST", "/predictions/fd1", {"data": b"{", "headers": JSON}, 400, "bad_request"),
        ("POST", "/predictions/fd1", {"data": b"x", "headers": MULTIPART}, 400, "bad_picture"),
        ("PUT", "/predictions/fd1", {"data": b"%PDF-1.7"}, 415, "unsupported_format"),
        ("PUT", "/predictions/fd1", {"headers": {"X-Conf-Threshold": "x" * 5000}}, 422, "invalid_option"),
        ("PUT", "/predictions/fd1", {"headers": {"X-Other": "x" * 9000}}, 400, "BadRequestException"),
        ("GET", "/" + "x" * 9000, {}, 400, "BadRequestException"),
        ("PUT", "/predictions/fd1", {"headers": {"Content-Length": "99999999"}, "data": b""}, 413, ""),
        # TorchServe's answer to a form that is none; no fault of the server, in spite of the number.
        ("POST", "/predictions/fd1", {"data": b"a=%zz", "headers": FORM}, 500, "ErrorDataDecoderException"),
    ],
)
def test_over_http(method: str, path: str, given: dict[str, Any], status: int, kind: str, server: Server) -> None:
    answer = requests.request(method, server.url + path, timeout=30, **given)
    assert check(server, answer, status) == kind


@pytest.mark.parametrize(
    "sent",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PUT /predictions/fd1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PUT /predictions/fd1 HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n",
    ],
)
def test_what_is_no_http(sent: bytes, server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(sent)
        answer = connection.recv(65536).decode()
    assert re.match(r"HTTP/1\.1 4\d\d ", answer)
    tells_nothing(server, answer.partition("\r\n")[2])


@pytest.mark.slow
def test_an_engine_that_fails_and_a_worker_that_dies(server: Server, failing: str, astronaut: bytes) -> None:
    assert check(server, server.predict(failing, astronaut, X_Conf_Threshold=str(STUMBLE)), 500) == "internal_error"
    assert check(server, server.predict(failing, astronaut, X_Conf_Threshold=str(POISON)), 500, 503)
    wait_served(server, failing, astronaut)
    assert details(server, failing, astronaut, conf_threshold=str(POISON)) == "Worker died."
    wait_served(server, failing, astronaut)


def test_a_full_queue_and_a_model_without_workers(server: Server, failing: str, astronaut: bytes) -> None:
    wait_served(server, failing, astronaut)
    (pid,) = server.pids(failing)
    worker = psutil.Process(pid)
    worker.suspend()
    try:
        with ThreadPoolExecutor(QUEUE + 10) as pool:
            asked = [pool.submit(server.predict, failing, b"x") for _ in range(QUEUE + 10)]
            deadline = time.monotonic() + 20
            while not any(each.done() for each in asked) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert "has no worker" in details(server, failing, b"x")
            worker.resume()
            answers = [each.result() for each in asked]
    finally:
        worker.resume()
    kinds = [check(server, answer, 400, 503) for answer in answers]
    assert kinds.count("bad_picture") >= QUEUE and kinds.count("ServiceUnavailableException") >= 1
    scaled = requests.put(f"{server.management}/models/{failing}?min_worker=0&synchronous=true", timeout=60)
    assert scaled.status_code == 200
    assert check(server, server.predict(failing, b"x"), 503) == "ServiceUnavailableException"
    assert requests.put(f"{server.management}/models/{failing}?min_worker=1&synchronous=true", timeout=60).ok


def wait_served(server: Server, name: str, picture: bytes) -> None:
    deadline = time.monotonic() + 40
    while server.predict(name, picture).status_code != 200:
        assert time.monotonic() < deadline, "the worker was not started anew"
        time.sleep(0.2)


def details(server: Server, name: str, data: bytes, **options: str) -> str:
    """The details of a gRPC error, without the Java class that ends them."""
    with (
        grpc_client.channel(f"127.0.0.1:{server.grpc_port}") as channel,
        pytest.raises(grpc.RpcError) as failed,
    ):
        grpc_client.predict(channel, name, data, options)
    text = failed.value.details()
    plain = JAVA.sub("", text)
    tells_nothing(server, plain)
    return plain


def test_over_grpc(server: Server) -> None:
    assert details(server, "fd9", b"x") == "Model not found: fd9"
    assert details(server, "", b"x").startswith("Parameter model_name is required.")
    with grpc_client.channel(f"127.0.0.1:{server.grpc_port}") as channel:
        for data, options in ((b"x", {}), (b"", {}), (b"x", {"conf_threshold": "x"})):
            answer = grpc_client.predict(channel, "fd1", data, options).decode()
            tells_nothing(server, answer)
            assert set(json.loads(answer)) == {"code", "type", "message"}
        for method, message in (
            ("/org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels", b""),
            ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", b""),
            (grpc_client.METHOD, b"\xff\xff"),
        ):
            with pytest.raises(grpc.RpcError) as failed:
                channel.unary_unary(method)(message, timeout=10)
            assert failed.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN)
            tells_nothing(server, failed.value.details().replace(method[1:], ""))

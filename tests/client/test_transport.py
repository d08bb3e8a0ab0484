"""The way to a server: retries and errors over both protocols, against real servers that answer as they are told."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import pytest

from detserve.client import grpc as grpc_client
from detserve.client import transport
from detserve.client.answer import Answer, Failure, failure
from detserve.client.http import Http
from detserve.client.protocol import Question, Reply
from detserve.client.status import NO_CONNECTION, TIMEOUT

PICTURE = Question("fd1", b"picture")
FACE = {"xywh_ratio": [0.5, 0.5, 0.4, 0.4], "conf": 0.9}


@contextmanager
def http_server(
    answer: Callable[[int, BaseHTTPRequestHandler], tuple[int, bytes]], keep: bool = False
) -> Iterator[str]:
    """A server whose n-th answer, counted from 0, is of that function, which may give it `more_headers` → its URL.

    keep: whether connections are kept.
    """
    count = iter(range(1_000_000))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1" if keep else "HTTP/1.0"

        def do_PUT(self) -> None:
            self.body = self.rfile.read(int(self.headers["Content-Length"]))
            status, body = answer(next(count), self)
            if not status:
                return  # hangs up
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for header in getattr(self, "more_headers", {"Retry-After": "0"}).items():
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def error(status: int) -> tuple[int, bytes]:
    return status, json.dumps({"code": status, "type": "t", "message": "m"}).encode()


GOOD = (200, json.dumps([FACE]).encode())


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("first", [error(503), (0, b""), (503, b"<html>")], ids=["503", "hang-up", "another's 503"])
def test_a_busy_or_broken_server_is_asked_again(first: tuple[int, bytes]) -> None:
    asked = []

    def answer(n: int, request: Any) -> tuple[int, bytes]:
        asked.append(request.body)
        return first if n < 2 else GOOD

    with http_server(answer) as url, Http(url) as send:
        assert transport.Asker(send).ask(PICTURE) == Answer([FACE])
    assert asked == [b"picture"] * 3


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("status", "tries"), [(400, 1), (413, 1), (422, 1), (429, 1), (500, 1), (503, 5)])
def test_a_refusal_is_final_and_a_busy_server_too_in_the_end(status: int, tries: int) -> None:
    asked = []

    def answer(n: int, _: Any) -> tuple[int, bytes]:
        asked.append(n)
        return error(status)

    with (
        http_server(answer) as url,
        Http(url) as send,
        pytest.raises(Failure, match=f"^{status}: m$"),
    ):
        transport.Asker(send).ask(PICTURE)
    assert len(asked) == tries


@pytest.mark.usefixtures("quick")
def test_a_server_that_is_away_is_waited_for_once() -> None:
    tries, away = [], True

    def send(question: Question) -> Reply:
        tries.append(question.picture)
        if away:
            raise failure(NO_CONNECTION, "away")
        return Reply(*GOOD)

    asker = transport.Asker(send)
    for picture, count in ((b"1", 5), (b"2", 1), (b"3", 1)):
        with pytest.raises(Failure, match="no connection: away"):
            asker.ask(Question("fd1", picture))
        assert tries.count(picture) == count
    away = False
    assert asker.ask(Question("fd1", b"4")).detections
    away = True
    with pytest.raises(Failure):
        asker.ask(Question("fd1", b"5"))
    assert tries.count(b"5") == 5


def test_options_and_the_token_travel_as_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("default login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen = {}

    def answer(_: int, request: Any) -> tuple[int, bytes]:
        seen.update(request.headers, path=request.path)
        return GOOD

    with (
        http_server(answer) as url,
        Http(f"{url}/", token="key") as send,
    ):
        send(Question("a/b", b"picture", {"conf_threshold": "0.3"}))
    assert (seen["path"], seen["X-Conf-Threshold"]) == ("/predictions/a%2Fb", "0.3")
    assert seen["Authorization"] == "Bearer key"


def test_a_silent_server_is_a_timeout_over_both_protocols() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        for over, place in ((Http, f"http://{address}"), (transport.over_grpc, address)):
            with (
                over(place, timeout=0.2) as send,
                pytest.raises(Failure, match="no answer within") as caught,
            ):
                transport.Asker(send).ask(PICTURE)
            assert caught.value.code == TIMEOUT


@contextmanager
def grpc_server(answer: Callable[[int, Any, Any], bytes]) -> Iterator[str]:
    """As `http_server`; the function is given the request and the context, on which it may abort → its address."""
    count = iter(range(1_000_000))
    messages = grpc_client.messages()
    method = grpc.unary_unary_rpc_method_handler(
        lambda request, context: messages["PredictionResponse"](prediction=answer(next(count), request, context)),
        messages["PredictionsRequest"].FromString,
        messages["PredictionResponse"].SerializeToString,
    )
    _, service, name = grpc_client.METHOD.split("/")
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


# As TorchServe 0.12 tells them.
QUEUE_FULL = (grpc.StatusCode.INTERNAL, 'Model "fd1" has no worker to serve\nInternalServerException.()')
BATCH_FAILED = (grpc.StatusCode.UNAVAILABLE, "Prediction failed\norg.pytorch.serve.http.InternalServerException")
NOT_FOUND = (grpc.StatusCode.INTERNAL, "Model not found: fd1\norg.pytorch.serve.archive.model.ModelNotFoundException")
TOO_LARGE = (grpc.StatusCode.RESOURCE_EXHAUSTED, "gRPC message exceeds maximum size")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("told", "tries", "said"),
    [
        (QUEUE_FULL, 5, '503: Model "fd1" has no worker to serve'),
        (BATCH_FAILED, 5, "503: Prediction failed"),
        (NOT_FOUND, 1, "INTERNAL: Model not found: fd1"),
        (TOO_LARGE, 1, "RESOURCE_EXHAUSTED: gRPC message exceeds maximum size"),
    ],
)
def test_errors_of_grpc_are_told_apart(told: tuple[Any, str], tries: int, said: str) -> None:
    asked = []

    def answer(n: int, _: Any, context: Any) -> bytes:
        asked.append(n)
        context.abort(*told)
        raise AssertionError

    with (
        grpc_server(answer) as address,
        transport.over_grpc(address) as send,
        pytest.raises(Failure) as caught,
    ):
        transport.Asker(send).ask(PICTURE)
    assert (str(caught.value), len(asked)) == (said, tries)


@pytest.mark.usefixtures("quick")
def test_a_busy_server_is_asked_again_over_grpc() -> None:
    requests = []

    def answer(n: int, request: Any, context: Any) -> bytes:
        requests.append(request)
        if n < 2:
            context.abort(*QUEUE_FULL)
        return GOOD[1]

    with grpc_server(answer) as address, transport.over_grpc(address) as send:
        assert transport.Asker(send).ask(Question("fd1", b"picture", {"detect": "off"})).detections == [FACE]
    assert [dict(request.input) for request in requests] == [{"data": b"picture", "detect": b"off"}] * 3

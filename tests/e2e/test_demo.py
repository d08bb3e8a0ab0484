"""The page's server in front of the real one: what it hands on, what it refuses, and what it keeps to itself."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from detserve.demo.app import LIMIT, STATIC
from detserve.demo.guard import HEADERS
from detserve.serve.launch import free_ports
from tests.harness.page import demo
from tests.harness.server import Server

SAMPLE = (STATIC / "sample.jpg").read_bytes()


@pytest.fixture(scope="module")
def url(server: Server) -> Iterator[str]:
    with demo("--url", server.url, "--management", server.management) as url:
        yield url


def put(url: str, body: bytes = SAMPLE, model: str = "fd1", **headers: str) -> requests.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.put(f"{url}/predictions/{model}", data=body, headers=sent, timeout=60)


def test_an_answer_is_the_servers_byte_for_byte(server: Server, url: str) -> None:
    mine, theirs = put(url), server.predict("fd1", SAMPLE)
    assert (mine.status_code, mine.content) == (200, theirs.content)
    assert len(mine.json()) == 4
    for name in ("X-Image-Size", "X-Model", "Content-Type"):
        assert mine.headers[name] == theirs.headers[name]
    assert mine.headers["Server-Timing"].startswith("decode;dur=")
    assert put(url, X_Conf_Threshold="0.999").json() == []
    form = requests.post(f"{url}/predictions/fd1", files={"data": SAMPLE}, data={"max_detections": "2"}, timeout=60)
    assert form.json() == mine.json()[:2]


def test_an_error_is_the_servers_too(server: Server, url: str) -> None:
    for body, headers, status in ((b"hello", {}, 400), (b"%PDF-1.7\n", {}, 415), (SAMPLE, {"X_Min_Size": "7"}, 422)):
        mine, theirs = put(url, body, **headers), server.predict("fd1", body, **headers)
        assert (mine.status_code, mine.content) == (status, theirs.content)
    assert put(url, model="fd9").json()["type"] == "ModelNotFoundException"


def test_the_models_are_those_that_the_server_has(server: Server, url: str) -> None:
    facts = requests.get(f"{url}/models", timeout=30).json()
    assert facts == {"models": ["fd1", "fd640", "ocr1", "td1"], "server": server.url, "token": False, "limit": LIMIT}


@pytest.mark.slow
def test_models_are_looked_for_where_nothing_lists_them(server: Server) -> None:
    with demo("--url", server.url) as unlisted, demo("--url", server.url, "--models", "td1", "fd9", "fd640") as named:
        assert requests.get(f"{unlisted}/models", timeout=30).json()["models"] == ["fd1", "ocr1", "td1"]
        assert requests.get(f"{named}/models", timeout=30).json()["models"] == ["fd640", "td1"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ping", 404),
        ("GET", "/predictions/fd1", 404),
        ("DELETE", "/predictions/fd1", 405),
        ("POST", "/models", 405),
        ("PUT", "/predictions/fd1/1.0", 405),
        ("PUT", "/predictions/..", 404),
        ("PUT", "/predictions/%2e%2e%2fping", 405),
        ("PUT", "/predictions/.fd1", 404),
        ("PUT", "/predictions/fd1%3fa=b", 404),
        ("PUT", "/v1/models/fd1:predict", 405),
        ("GET", "/../command.py", 404),
        ("GET", "/%2e%2e/command.py", 404),
    ],
)
def test_nothing_but_predictions_is_handed_on(url: str, method: str, path: str, status: int) -> None:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)) as connection:
        connection.request(method, path, SAMPLE if method == "PUT" else None)
        assert connection.getresponse().status == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "elsewhere.example"},
        {"Host": "127.0.0.1.elsewhere.example:8088"},
        {"Host": "elsewhere.example:80"},
    ],
)
def test_another_site_cannot_use_it(url: str, headers: dict[str, str]) -> None:
    answer = put(url, **headers)
    assert (answer.status_code, answer.json()["type"]) == (403, "foreign_site")
    if "Host" in headers:
        assert requests.get(url, headers=headers, timeout=30).status_code == 403
    else:
        assert requests.get(url, headers={"Origin": "null", "Sec-Fetch-Site": "cross-site"}, timeout=30).ok, "a link"


def test_its_own_page_can(url: str) -> None:
    assert put(url, Origin=url, Sec_Fetch_Site="same-origin").status_code == 200
    port = urlsplit(url).port
    assert put(url, Host=f"localhost:{port}", Origin=f"http://localhost:{port}").status_code == 200


def test_every_answer_has_the_headers_that_keep_others_out(url: str) -> None:
    for path in ("/", "/main.js", "/models", "/nothing", "/sample.jpg", "/openapi.yaml"):
        answer = requests.get(f"{url}{path}", timeout=30)
        assert {name: answer.headers.get(name) for name in HEADERS} == dict(HEADERS), path
        assert "Access-Control-Allow-Origin" not in answer.headers and "Server" not in answer.headers
    assert answer.text == (STATIC / "openapi.yaml").read_text("utf-8")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8", "browsers show that"


def test_a_body_over_the_limit_ends_there_and_none_is_kept(url: str) -> None:
    port = str(urlsplit(url).port)
    page = next(each for each in psutil.process_iter(["cmdline"]) if port in (each.info["cmdline"] or ()))
    before = page.memory_info().rss
    assert put(url, SAMPLE + bytes(LIMIT - len(SAMPLE))).status_code == 200
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)) as declared:
        declared.putrequest("PUT", "/predictions/fd1")
        declared.putheader("Content-Length", str(LIMIT + 1))
        declared.endheaders()
        answer = declared.getresponse()
        assert (answer.status, json.loads(answer.read())["type"]) == (413, "body_too_large")
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 4 * LIMIT:
            sent += 1 << 20
            yield bytes(1 << 20)

    with suppress(requests.ConnectionError):  # it hangs up on the rest of the body
        assert requests.put(f"{url}/predictions/fd1", data=endless(), timeout=60).status_code == 413
    assert sent < 2 * LIMIT
    grown = (page.memory_info().rss - before) / 2**20
    print(f"grown by {grown:.0f} MiB")
    assert grown < 16


class Other(BaseHTTPRequestHandler):
    """A server that says which headers it was sent. The real one with a token: tests/serve/test_outside.py."""

    def do_GET(self) -> None:
        self._say({"status": "Healthy"})

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._say({name.lower(): value for name, value in self.headers.items()})

    def _say(self, facts: dict[str, str]) -> None:
        body = json.dumps(facts).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "a=b")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_the_token_is_added_here_and_a_visitors_headers_stay_here() -> None:
    with HTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.serve_forever, daemon=True)
        thread.start()
        upstream = f"http://127.0.0.1:{other.server_port}"
        with demo("--url", upstream, "--models", "fd1", environment={"DETSERVE_TOKEN": "abc"}) as url:
            answer = put(url, Cookie="c=d", Authorization="Bearer mine", X_Forwarded_For="1.2.3.4", X_Split="words")
            seen = answer.json()
            assert (seen["authorization"], seen["x-split"]) == ("Bearer abc", "words")
            assert seen.keys() & {"cookie", "x-forwarded-for", "origin"} == set()
            assert "Set-Cookie" not in answer.headers
            facts = requests.get(f"{url}/models", timeout=30)
            assert facts.json()["token"] is True and "abc" not in facts.text
        other.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_server_that_is_gone_is_said_in_the_servers_form(server: Server, tmp_path: Path) -> None:
    """A passage to the real server that is closed while the page is open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = listener.getsockname()[1]
        relay = threading.Thread(target=_relay_once, args=(listener, server.port), daemon=True)
        relay.start()
        page = demo("--url", f"http://127.0.0.1:{gone}", "--models", "fd1")
        url = page.__enter__()
        relay.join()
    try:
        for answer in (put(url), requests.get(f"{url}/models", timeout=30)):
            assert (answer.status_code, answer.json()["type"]) == (502, "no_server")
            assert str(gone) in answer.json()["message"]
    finally:
        page.__exit__(None, None, None)


def _relay_once(listener: socket.socket, port: int) -> None:
    """Hand one request and its answer on."""
    near, _ = listener.accept()
    with near, socket.create_connection(("127.0.0.1", port)) as far:
        far.sendall(near.recv(65536))
        near.sendall(far.recv(65536))


@pytest.mark.slow
def test_it_starts_a_server_where_none_answers_and_ends_it(server: Server, tmp_path: Path) -> None:
    """In a copy of detserve whose ports are other ones: those of this machine may be taken."""
    ports = free_ports()
    for part in ("detserve", "config", "handlers"):
        shutil.copytree(Path(__file__).parents[2] / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(server.store, tmp_path / "model_store")
    settings = tmp_path / "detserve/serve/config.py"
    text = settings.read_text("utf-8")
    for name, port in ports.items():
        number = {"port": 8080, "management_port": 8081, "metrics_port": 8082, "grpc_port": 7070}.get(name, 7071)
        text = text.replace(f"    {name}: int = {number}\n", f"    {name}: int = {port}\n")
    settings.write_text(text, "utf-8")
    with demo(cwd=tmp_path) as url:
        assert len(put(url).json()) == 4
        answer = requests.get(f"http://127.0.0.1:{ports['port']}/ping", timeout=10)
        assert answer.json()["status"] == "Healthy"
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{ports['port']}/ping", timeout=10)
    assert subprocess.run(["pgrep", "-f", str(tmp_path / "run")], check=False).returncode == 1
    assert list((tmp_path / "run/logs").iterdir())

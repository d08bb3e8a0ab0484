"""The proxy of docker/proxy, a real nginx, in front of the real server."""

from __future__ import annotations

import http.client
import json
import resource
import select
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import requests

from benchmarks.proxy import Proxy, certificate, missing, proxied
from tests.harness.page import demo
from tests.harness.server import Server

START = b"PUT /predictions/fd1 HTTP/1.1\r\nHost: here\r\nContent-Length: 100000\r\n\r\n"
"""A request whose body does not come."""
URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"
FIELD = b'--a\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'

Start = Callable[..., Proxy]


@pytest.fixture
def start(server: Server) -> Iterator[Start]:
    """Starts a proxy in front of the shared server, with these variables."""
    if lacking := missing():
        pytest.skip(f"apt-get install nginx-light gettext-base: {' and '.join(lacking)} missing")
    with ExitStack() as stack:

        def one(port: int = server.port, **variables: object) -> Proxy:
            return stack.enter_context(proxied(port, **variables))

        yield one


def url(proxy: Proxy, path: str = "/predictions/fd1") -> str:
    return f"http://127.0.0.1:{proxy.port}{path}"


def put(proxy: Proxy, body: bytes, path: str = "/predictions/fd1", **headers: str) -> requests.Response:
    return requests.put(
        url(proxy, path), body, headers={k.replace("_", "-"): v for k, v in headers.items()}, timeout=60
    )


def exchange(proxy: Proxy, sent: bytes, source: str = "127.0.0.1", seconds: float = 10) -> bytes:
    """Send bytes over a connection of its own → all that comes back until it is closed, or the time is over."""
    got = b""
    with socket.create_connection(("127.0.0.1", proxy.port), seconds, (source, 0)) as connection, suppress(OSError):
        connection.sendall(sent)
        while data := connection.recv(65536):
            got += data
    return got


def error_of(answer: requests.Response) -> tuple[int, str]:
    """Status and type of an answer that is an error in our form."""
    said = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert set(said) == {"code", "type", "message"}
    assert said["code"] == answer.status_code
    return said["code"], said["type"]


def raw_error(answer: bytes) -> tuple[int, str]:
    """The same of bytes."""
    head, _, body = answer.partition(b"\r\n\r\n")
    said = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % said["code"]), head
    return said["code"], said["type"]


@contextmanager
def stalled(proxy: Proxy, head: bytes) -> Iterator[None]:
    """A request that the proxy waits for the body of, and so counts; refused where one before it still counts."""
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
            connection.sendall(head)
            answered, _, _ = select.select([connection], [], [], 0.5)
            if not answered:
                yield
                return
    raise AssertionError("always refused")


def connections_to(server: Server) -> int:
    """How many callers TorchServe holds a connection for."""
    ours = (c for c in server.java.net_connections("tcp") if c.laddr.port == server.port)
    return sum(c.status == psutil.CONN_ESTABLISHED for c in ours)


# What passes


def test_an_answer_and_an_error_are_those_of_the_server(start: Start, server: Server, astronaut: bytes) -> None:
    proxy = start()
    for body, headers in (
        (astronaut, {}),
        (astronaut, {"X-Max-Detections": "0"}),
        (b"no picture", {}),
        (astronaut[:999], {}),
    ):
        direct = server.predict("fd1", body, **headers)
        through = put(proxy, body, **headers)
        assert (through.status_code, through.content) == (direct.status_code, direct.content)
        assert {k: through.headers.get(k) for k in ("X-Model", "X-Image-Size", "Content-Type")} == {
            k: direct.headers.get(k) for k in ("X-Model", "X-Image-Size", "Content-Type")
        }
    for _ in range(100):  # TorchServe closes the connection of each of these by a reset
        assert put(proxy, b"no picture").status_code == 400
    v1 = {"instances": [{"data": "bm8gcGljdHVyZQ=="}]}
    answer = requests.post(url(proxy, "/v1/models/fd1:predict"), json=v1, timeout=30)
    assert answer.json()["predictions"][0]["type"] == "bad_picture"


def test_what_is_called_a_form_by_mistake_is_the_picture_that_it_is(
    start: Start, server: Server, astronaut: bytes, tmp_path: Path
) -> None:
    proxy = start()
    faces = server.predict("fd1", astronaut).content
    assert server.predict("fd1", astronaut, Content_Type=URLENCODED).status_code != 200, "then nobody needs it"
    assert put(proxy, astronaut, Content_Type=URLENCODED + "; charset=UTF-8").content == faces
    with urllib.request.urlopen(url(proxy), astronaut, timeout=30) as answer:
        assert answer.read() == faces
    if curl := shutil.which("curl"):
        (tmp_path / "img.png").write_bytes(astronaut)
        command = [curl, "-sS", "--noproxy", "*", "--data-binary", f"@{tmp_path / 'img.png'}", url(proxy)]
        assert subprocess.run(command, capture_output=True, check=True, timeout=30).stdout == faces
    begin = time.monotonic()
    assert error_of(put(proxy, b"a=&" * 1_000_000, Content_Type=URLENCODED)) == (400, "bad_picture")
    assert time.monotonic() - begin < 5 * server.ready_seconds / 10 + 2, "TorchServe took the form apart"


def test_a_form_of_files_passes_and_has_limits_of_its_own(start: Start, server: Server, astronaut: bytes) -> None:
    proxy = start(FORM_MB=1, FORMS=1)
    faces = server.predict("fd1", astronaut).content
    whole = requests.post(url(proxy), files={"data": astronaut}, data={"max_detections": "1"}, timeout=30)
    assert (whole.status_code, whole.content) == (200, faces)
    refused = put(proxy, FIELD * 30_000 + b"--a--\r\n", Content_Type=MULTIPART)
    assert error_of(refused) == (413, "body_too_large")
    assert "a form of more than 1 MiB" in refused.json()["message"]
    chunks = (FIELD * 1000 for _ in range(30))
    assert error_of(requests.post(url(proxy), chunks, headers={"Content-Type": MULTIPART}, timeout=30))[0] == 413
    for path in ("/v1/models/fd1:predict", "/v2/models/fd1/infer"):
        refused = requests.post(url(proxy, path), files={"data": astronaut}, timeout=30)
        assert error_of(refused) == (415, "unsupported_type")
    half = START.replace(b"Host", b"Content-Type: " + MULTIPART.encode() + b"\r\nHost")
    with stalled(proxy, half):
        second = requests.post(url(proxy), files={"data": astronaut}, timeout=30)
        assert error_of(second) == (429, "too_many_requests")
        assert put(proxy, astronaut).content == faces


def test_tls(start: Start, server: Server, astronaut: bytes, tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("apt-get install openssl")
    secret = certificate(tmp_path)
    proxy = start(**secret)
    place = f"https://127.0.0.1:{proxy.port}/predictions/fd1"
    answer = requests.put(place, astronaut, verify=secret["TLS_CERTIFICATE"], timeout=30)
    assert answer.content == server.predict("fd1", astronaut).content
    assert error_of(put(proxy, astronaut)) == (400, "bad_request"), "plain HTTP at the port of TLS"
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):  # which this Python still speaks
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as plain, pytest.raises(ssl.SSLError, match="version"):
        old.wrap_socket(plain)


# Limits of a caller


def test_a_caller_has_so_many_requests_at_once_and_another_is_answered(
    start: Start, server: Server, astronaut: bytes
) -> None:
    before = connections_to(server)  # of other tests
    proxy = start(REQUESTS=2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(stalled(proxy, START))
        third = put(proxy, astronaut)
        assert error_of(third) == (429, "too_many_requests")
        assert third.headers["Retry-After"] == "1"
        other = http.client.HTTPConnection("127.0.0.1", proxy.port, 30, ("127.0.0.2", 0))
        other.request("PUT", "/predictions/fd1", astronaut)
        assert other.getresponse().status == 200
        other.close()
        assert connections_to(server) <= before + 2, "of half a body TorchServe must see nothing"
    assert put(proxy, astronaut).status_code == 200


def test_a_caller_has_so_many_requests_a_second(start: Start) -> None:
    proxy = start(RATE=1, BURST=2)
    statuses = [put(proxy, b"no picture").status_code for _ in range(8)]
    assert statuses[:3] == [400, 400, 400]
    assert 429 in statuses
    other = exchange(proxy, b"PUT /predictions/fd1 HTTP/1.0\r\nContent-Length: 2\r\n\r\nno", "127.0.0.2")
    assert raw_error(other) == (400, "bad_picture")
    assert requests.get(url(proxy, "/health"), timeout=10).status_code == 200, "health is not counted"


def test_behind_another_proxy_the_caller_is_whom_that_names(start: Start) -> None:
    trusting, other = start(RATE=1, BURST=1, TRUSTED="127.0.0.1"), start(RATE=1, BURST=1)
    said = [put(trusting, b"no", X_Forwarded_For=f"192.0.2.{n}").status_code for n in range(6)]
    assert said == [400] * 6
    assert 429 in [put(other, b"no", X_Forwarded_For=f"192.0.2.{n}").status_code for n in range(6)]


# Slow and silent callers


def closed_after(connection: socket.socket, drips: bytes, seconds: float) -> float:
    """Send a byte each fifth of a second → the seconds until the proxy hangs up; fails where it does not."""
    begin = time.monotonic()
    connection.settimeout(0.2)
    for n in range(int(seconds * 5)):
        try:
            if drips:
                connection.send(drips[n : n + 1])
            if not connection.recv(4096):
                return time.monotonic() - begin
        except TimeoutError:
            continue
        except OSError:
            return time.monotonic() - begin
    raise AssertionError(f"not hung up on within {seconds:.0f} s")


@pytest.mark.parametrize(
    ("first", "drips"),
    [(b"", START * 3), (START + bytes(1000), b""), (b"", b"")],
    ids=["a head, byte by byte", "a body that stalls", "nothing at all"],
)
def test_a_slow_sender_is_hung_up_on(start: Start, server: Server, first: bytes, drips: bytes) -> None:
    proxy = start(SLOW_SECONDS=1)
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        connection.sendall(first)
        assert 0.5 < closed_after(connection, drips, 8) < 6


def test_a_kept_connection_that_is_idle_is_closed(start: Start) -> None:
    proxy = start(IDLE_SECONDS=1)
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert 0.5 < closed_after(connection, b"", 8) < 6


@pytest.mark.parametrize(
    ("count", "seconds"),
    [
        pytest.param(400, 2, id="short", marks=pytest.mark.slow),  # as many files as any machine lets a process open
        pytest.param(8000, 10, id="long", marks=pytest.mark.long),
    ],
)
def test_of_very_many_slow_senders_none_is_left_and_the_others_are_answered(
    start: Start, server: Server, astronaut: bytes, count: int, seconds: int
) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < count + 500:
        pytest.skip(f"this machine lets a process open no {count + 500} files")
    before = connections_to(server)
    proxy = start(SLOW_SECONDS=seconds, REQUESTS=9999, RATE=9999, BURST=9999)
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port), 10)) for _ in range(count)]
        for connection in slow:
            connection.sendall(START + bytes(1000))
        assert [put(proxy, astronaut).status_code for _ in range(5)] == [200] * 5
        assert connections_to(server) <= before + 2, "TorchServe must see whole bodies alone"
        deadline = time.monotonic() + 20 + seconds
        while (left := open_ones(slow)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == 0


def open_ones(connections: list[socket.socket]) -> int:
    left = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            left += bool(connection.recv(1))
        except BlockingIOError:
            left += 1
        except OSError:
            pass
    return left


# What is refused


def test_what_is_too_large_is_refused_with_our_error(start: Start) -> None:
    proxy = start(SLOW_SECONDS=2)  # so long the proxy waits for the rest of what it has refused
    announced = START.replace(b"100000", b"%d" % ((32 << 20) + 1)).replace(
        b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"
    )
    assert raw_error(exchange(proxy, announced.replace(b"Host", b"Connection: close\r\nHost"))) == (
        413,
        "body_too_large",
    )
    chunks = (bytes(1 << 20) for _ in range(34))
    assert error_of(requests.put(url(proxy), chunks, timeout=60)) == (413, "body_too_large")
    assert error_of(put(proxy, bytes(32 << 20))) == (400, "bad_picture")
    assert error_of(put(proxy, b"", X_Long="x" * 7000)) == (431, "headers_too_large")
    assert error_of(put(proxy, b"no picture", X_Long="x" * 5000)) == (400, "bad_picture")
    assert error_of(put(proxy, b"", "/predictions/" + "x" * 7000)) == (414, "path_too_long")
    assert raw_error(exchange(proxy, b"PUT /predictions/fd1 HTTP/1.1\r\nContent-Length: x\r\n\r\n")) == (
        400,
        "bad_request",
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/models"), ("POST", "/models?url=x.mar"), ("DELETE", "/models/fd1"),
        ("PUT", "/models/fd1?min_worker=0"), ("POST", "/form/predictions/fd1"),
        ("GET", "/token?type=inference"), ("GET", "/api-description"), ("OPTIONS", "/"), ("GET", "/metrics"),
        ("GET", "/"), ("POST", "/predictions/fd1/../../models"), ("GET", "/%6dodels"),
        ("POST", "/predictions/%2e%2e%2fmodels"), ("POST", "/explanations/fd1"), ("POST", "/v2/repository/index"),
        ("POST", "/predictions/a%0d%0ab"), ("GET", "/predictions/"),
    ],
)  # fmt: skip
def test_nothing_else_of_the_server_is_there(start: Start, method: str, path: str) -> None:
    proxy = start(99)  # no server is asked: it would be 502
    answer = raw_error(exchange(proxy, f"{method} {path} HTTP/1.0\r\n\r\n".encode()))
    assert answer == (404, "not_found")


def test_a_picture_is_sent_by_post_or_put(start: Start) -> None:
    proxy = start()
    assert error_of(requests.get(url(proxy), timeout=10)) == (405, "method_not_allowed")
    assert error_of(requests.get(url(proxy, "/v1/models/fd1:predict"), timeout=10)) == (405, "method_not_allowed")


# The server behind


def test_health_is_that_of_the_server_behind(start: Start, server: Server) -> None:
    proxy = start()
    assert requests.get(url(proxy, "/health"), timeout=10).json() == {"status": "Healthy"}
    asks_for_a_key = start(HEALTH="/predictions/fd1")  # any 400 of the server's
    assert requests.get(url(asks_for_a_key, "/health"), timeout=10).json() == {"status": "Healthy"}
    alone = start(99)
    down = requests.get(url(alone, "/health"), timeout=10)
    assert error_of(down) == (503, "server_unavailable")
    refused = put(alone, b"a picture")
    assert (error_of(refused), refused.headers["Retry-After"]) == ((502, "server_unavailable"), "1")


def test_a_503_of_torchserve_says_when_to_come_back(start: Start, server: Server) -> None:
    proxy = start()
    workers = f"{server.management}/models/fd640?synchronous=true&min_worker="
    try:
        assert requests.put(f"{workers}0", timeout=60).ok
        answer = put(proxy, b"a picture", "/predictions/fd640")
        assert error_of(answer)[0] == 503
        assert answer.headers["Retry-After"] == "1"
        assert "Retry-After" not in server.predict("fd640", b"a picture").headers, "then the proxy need not"
    finally:
        assert requests.put(f"{workers}1", timeout=60).ok
    assert "Retry-After" not in put(proxy, b"no picture").headers


@pytest.mark.slow
def test_the_page_offers_the_models_that_are_behind_it(start: Start) -> None:
    with demo("--url", url(start(), ""), "--models", "td9", "fd1") as page:
        assert requests.get(f"{page}/models", timeout=30).json()["models"] == ["fd1"]

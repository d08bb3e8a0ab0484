"""md1 by a real server: objects with masks, with depth and without, over HTTP, KServe's v2 and gRPC."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import psutil
import pytest
import requests
import torch

from benchmarks.fill_objects import fill
from detserve import models
from detserve.client import grpc as grpc_client
from detserve.models.maskrcnn import MaskRcnn
from detserve.pack.packer import ModelChoice, PackRequest, pack
from tests.harness.server import Server, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of pycocotools
]
MOST_MEMORY = 1.2e9
SMALL = {"min_size": 128, "max_size": 192, "size": (192, 192)}
CASES = {
    "md1": ("maskrcnn-r50-fpn", SMALL),
    "md3": (
        "maskrcnn-d2-r50-fpn-two-stems",
        {"min_size": 64, "size": (96, 96), "categories": ["bolt", "nut", "washer"], "category_ids": [0, 1, 2]},
    ),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    for name, (model, settings) in CASES.items():
        spec = models.find(model).override(**settings)
        assert isinstance(spec, MaskRcnn)
        weights = folder / f"{name}.pth"
        torch.save({"model": fill(spec)}, weights)
        choice = ModelChoice(model=model, settings={**settings, "conf": 0.3}, weights=[str(weights)])
        pack(PackRequest(name=name, detect=choice, out=folder, precision="fp32"))
        weights.unlink()
    return folder


@pytest.fixture(scope="module")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(store, tmp_path_factory.mktemp("run"), "--workers", "1") as server:
        yield server


@pytest.fixture(scope="module")
def jpeg(astronaut: bytes) -> bytes:
    bgr = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", bgr[:400, :500])[1].tobytes()


@pytest.fixture(scope="module")
def depth() -> bytes:
    """16-bit PNG, millimetres from 900 to 1700, of the size of the picture."""
    millimetres = np.tile(np.linspace(900, 1700, 500).astype(np.uint16), (400, 1))
    buffer = io.BytesIO()
    PIL.Image.fromarray(millimetres).save(buffer, "PNG")
    return buffer.getvalue()


def post(server: Server, name: str, **files: bytes) -> requests.Response:
    return requests.post(f"{server.url}/predictions/{name}", files=files, timeout=120)


def check(answer: list[dict[str, Any]], size: tuple[int, int]) -> None:
    from pycocotools import mask

    assert answer
    for found in answer:
        assert found.keys() == {"xywh_ratio", "conf", "label", "label_id", "mask_rle"}
        assert mask.decode(found["mask_rle"]).shape == size


def test_objects_have_labels_and_masks_of_the_pictures_size(server: Server, jpeg: bytes) -> None:
    response = server.predict("md1", jpeg)
    assert response.status_code == 200
    assert response.headers["X-Image-Size"] == "500x400"
    check(response.json(), (400, 500))
    confidences = [found["conf"] for found in response.json()]
    assert confidences == sorted(confidences, reverse=True)
    turned = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.open(io.BytesIO(jpeg)).save(turned, "JPEG", exif=exif)
    upright = server.predict("md1", turned.getvalue())
    assert upright.headers["X-Image-Size"] == "400x500"
    check(upright.json(), (500, 400))


def test_masks_come_as_they_are_asked_for(server: Server, jpeg: bytes) -> None:
    plain = server.predict("md1", jpeg, X_Masks="none").json()
    outlined = server.predict("md1", jpeg, X_Masks="polygon").json()
    whole = server.predict("md1", jpeg).json()
    assert [each["xywh_ratio"] for each in plain] == [each["xywh_ratio"] for each in whole]
    assert all("mask_rle" not in each for each in plain + outlined)
    assert all(0 <= value <= 1 for each in outlined for part in each["polygons_ratio"] for value in part)
    assert server.predict("md1", jpeg, X_Masks="bitmap").status_code == 422


def test_depth_is_taken_in_its_forms(server: Server, jpeg: bytes, depth: bytes) -> None:
    response = post(server, "md3", image=jpeg, depth=depth)
    assert response.status_code == 200, response.text
    check(response.json(), (400, 500))
    assert {found["label"] for found in response.json()} <= {"bolt", "nut", "washer"}
    samples = np.array(PIL.Image.open(io.BytesIO(depth)))
    npy = io.BytesIO()
    np.save(npy, samples.astype(np.float32))
    assert post(server, "md3", data=jpeg, depth=npy.getvalue()).json() == response.json()
    assert post(server, "md3", image=jpeg, depth=depth_of(np.zeros((400, 500), np.uint16))).json() != response.json()


def depth_of(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(samples).save(buffer, "TIFF")
    return buffer.getvalue()


def test_depth_that_does_not_fit_is_refused(server: Server, jpeg: bytes, depth: bytes) -> None:
    for name, files, status, kind in (
        ("md3", {"image": jpeg}, 422, "unfit_depth"),
        ("md1", {"image": jpeg, "depth": depth}, 422, "unfit_depth"),
        ("md3", {"image": jpeg, "depth": depth_of(np.zeros((40, 50), np.uint16))}, 422, "unfit_depth"),
        ("md3", {"image": jpeg, "depth": depth[:200]}, 400, "bad_picture"),
        ("md3", {"image": jpeg, "depth": jpeg}, 400, "bad_picture"),
        ("md3", {"image": jpeg[:900], "depth": depth}, 400, "bad_picture"),
        ("md3", {"image": jpeg, "depth": depth_of(np.zeros((400, 500), np.uint8))}, 415, "unsupported_format"),
    ):
        response = post(server, name, **files)
        assert (response.status_code, response.json()["type"]) == (status, kind), response.text


def v2(pictures: list[bytes], depths: list[bytes]) -> dict[str, Any]:
    inputs = {"image": pictures, "depth": depths}
    return {
        "inputs": [
            {"name": name, "shape": [len(data)], "datatype": "BYTES",
             "data": [base64.b64encode(each).decode() for each in data]}
            for name, data in inputs.items()
        ]
    }  # fmt: skip


def test_kserves_second_form_has_two_named_inputs(server: Server, jpeg: bytes, depth: bytes) -> None:
    plain = post(server, "md3", image=jpeg, depth=depth).json()
    body = json.dumps(v2([jpeg, jpeg[:500], jpeg], [depth, depth, depth]))
    answer = requests.post(f"{server.url}/predictions/md3", data=body, timeout=120).json()
    first, broken, third = map(json.loads, answer["outputs"][0]["data"])
    assert first == third == plain
    assert broken["code"] == 400
    uneven = requests.post(f"{server.url}/predictions/md3", data=json.dumps(v2([jpeg, jpeg], [depth])), timeout=60)
    assert uneven.status_code == 400


def test_over_grpc_depth_is_a_second_entry(server: Server, jpeg: bytes, depth: bytes) -> None:
    plain = post(server, "md3", image=jpeg, depth=depth).json()
    with grpc_client.channel(f"127.0.0.1:{server.grpc_port}") as channel:
        assert json.loads(grpc_client.predict(channel, "md3", jpeg, timeout=120, depth=depth)) == plain
        assert json.loads(grpc_client.predict(channel, "md3", jpeg, timeout=120))["code"] == 422


def test_an_answer_of_six_megabytes_goes_over_grpc(server: Server) -> None:
    random = np.random.default_rng(0)
    large = cv2.resize(random.integers(0, 256, (30, 40, 3), dtype=np.uint8), (8000, 6000))
    data = cv2.imencode(".jpg", large)[1].tobytes()
    options = {"masks": "polygon", "conf_threshold": "0", "max_detections": "300"}
    with grpc_client.channel(f"127.0.0.1:{server.grpc_port}") as channel:
        answer = grpc_client.predict(channel, "md1", data, options, timeout=120)
    print(f"answer of {len(answer) / 1e6:.1f} MB")
    assert len(answer) > 6e6
    assert len(json.loads(answer)) == 100


def test_a_bad_neighbour_harms_nobody_and_many_may_ask_at_once(server: Server, jpeg: bytes, depth: bytes) -> None:
    wanted = post(server, "md3", image=jpeg, depth=depth).json()

    def ask(i: int) -> tuple[int, Any]:
        response = post(server, "md3", image=jpeg, depth=depth[:99] if i % 3 == 2 else depth)
        return response.status_code, response.json()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(12)))
    for i, (status, answer) in enumerate(answers):
        assert (status, answer) == (200, wanted) if i % 3 != 2 else status == 400


def test_changed_files_are_answered_or_refused_and_no_worker_grows(server: Server, jpeg: bytes, depth: bytes) -> None:
    random = np.random.default_rng(7)
    small = cv2.imencode(".jpg", cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)[:100, :120])[1].tobytes()
    map_of = depth_of(np.full((100, 120), 1200, np.uint16))
    (pid,) = server.pids("md3")
    post(server, "md3", image=small, depth=map_of)
    before = psutil.Process(pid).memory_info().rss
    statuses = []
    for i in range(200):
        files = {"image": bytearray(small), "depth": bytearray(map_of)}
        changed = files["depth" if i % 2 else "image"]
        reach = 600 if i % 4 < 2 else len(changed)  # half of the changes hit the headers
        for at in random.integers(0, min(len(changed), reach), int(random.integers(1, 12))):
            changed[int(at)] = int(random.integers(256))
        sent = {name: bytes(data) for name, data in files.items()}
        statuses.append(post(server, "md3", **sent, conf_threshold=b"0.9").status_code)
    print({status: statuses.count(status) for status in sorted(set(statuses))})
    assert max(statuses) < 500
    assert server.pids("md3") == [pid]
    after = psutil.Process(pid).memory_info().rss
    print(f"worker: {before / 1e6:.0f} MB, then {after / 1e6:.0f} MB")
    assert after < MOST_MEMORY
    assert after - before < 100e6

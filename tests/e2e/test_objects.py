"""md1 by a real server: objects with masks, with depth and without, over HTTP, KServe's v2 and gRPC."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
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

from benchmarks import exits
from detserve.client import grpc as grpc_client
from detserve.client.http import Http
from detserve.client.protocol import Question
from detserve.client.v2 import TRITON
from detserve.pictures.depth import WithDepth
from tests.e2e.test_openapi import send
from tests.harness.objects import pack_into
from tests.harness.server import Server, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of pycocotools
]
ROOT = Path(__file__).parents[2]
MOST_MEMORY = 1.2e9


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    pack_into(folder)
    (folder / "md3.pth").unlink()
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


@pytest.mark.parametrize("masks", ["rle", "polygon", "none"])
def test_answers_are_described(server: Server, jpeg: bytes, masks: str) -> None:
    asked = {"path_parameters": {"model_name": "md1"}, "headers": {"X-Masks": masks}}
    path = "/predictions/{model_name}"
    assert send(server, path, body=jpeg, media_type="image/jpeg", **asked)
    assert send(server, path, "POST", body={"image": jpeg}, media_type="multipart/form-data", **asked)


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


def test_depth_that_does_not_fit_and_too_many_pixels_are_refused(server: Server, jpeg: bytes, depth: bytes) -> None:
    for name, files, status, kind in (
        ("md1", {"image": cv2.imencode(".png", np.zeros((6000, 8500)))[1].tobytes()}, 413, "picture_too_large"),
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


def test_in_kserves_first_form_depth_is_a_field_of_the_instance(server: Server, jpeg: bytes, depth: bytes) -> None:
    instance = {"image": {"b64": base64.b64encode(jpeg).decode()}, "depth": {"b64": base64.b64encode(depth).decode()}}
    answer = requests.post(f"{server.url}/predictions/md3", data=json.dumps({"instances": [instance]}), timeout=60)
    assert answer.json()["predictions"] == [post(server, "md3", image=jpeg, depth=depth).json()]


@pytest.fixture(scope="module")
def recording(jpeg: bytes, depth: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs, and a map without a picture."""
    root = tmp_path_factory.mktemp("recording")
    for folder, suffix, data in (("color_image", "jpg", jpeg), ("depth_image", "png", depth)):
        (root / folder).mkdir()
        for name in ("a", "b", "c"):
            (root / folder / f"{name}.{suffix}").write_bytes(data)
    (root / "depth_image" / "alone.png").write_bytes(depth)
    return root


def test_the_client_sends_a_recording_over_grpc(
    server: Server, recording: Path, jpeg: bytes, depth: bytes, tmp_path: Path
) -> None:
    out, results = tmp_path / "out", tmp_path / "coco.json"
    command = [sys.executable, ROOT / "client.py", recording, "--model", "md3", "--out", out, "--coco", results]
    command += ["--protocol", "grpc", "--url", f"127.0.0.1:{server.grpc_port}", "--at-once", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "alone.png" in done.stderr
    wanted = post(server, "md3", image=jpeg, depth=depth).json()
    assert sorted(path.name for path in out.glob("*.drawn.jpg")) == ["a.drawn.jpg", "b.drawn.jpg", "c.drawn.jpg"]
    entries = json.loads(results.read_text())
    assert {(each["image_id"], each["file_name"]) for each in entries} == {(1, "a.jpg"), (2, "b.jpg"), (3, "c.jpg")}
    assert len(entries) == 3 * len(wanted)
    assert entries[0]["segmentation"]["size"] == [400, 500]


@pytest.mark.parametrize("name", ["md1", "md3"])
@pytest.mark.timeout(600)
def test_triton_and_litserve_answer_the_same(
    server: Server, store: Path, tmp_path: Path, jpeg: bytes, depth: bytes, name: str
) -> None:
    files = {"image": jpeg, **({"depth": depth} if name == "md3" else {})}
    for start in (exits.triton_server, exits.litserve_server):
        try:
            with start(store / f"{name}.mar", tmp_path, borrowing=True) as to:  # PyTorch
                if start is exits.litserve_server:
                    for sent in (files, {"image": jpeg, "depth": depth}, {"image": jpeg[:500]}):
                        answer = requests.post(f"{to.url}/predictions/{name}", files=sent, timeout=120)
                        ours = post(server, name, **sent)
                        assert (answer.status_code, answer.content) == (ours.status_code, ours.content)
                    continue
                with Http(to.url, form=TRITON, timeout=120) as client:
                    for map_ in (depth, None) if name == "md3" else (None,):
                        reply = client(Question(name, jpeg if map_ is None else WithDepth(jpeg, map_)))
                        ours = post(server, name, image=jpeg, **({} if map_ is None else {"depth": map_}))
                        assert (reply.status, reply.body) == (ours.status_code, ours.content)
        except exits.NoPackages as error:
            pytest.skip(str(error))


def test_over_grpc_depth_is_a_second_entry(server: Server, jpeg: bytes, depth: bytes) -> None:
    plain = post(server, "md3", image=jpeg, depth=depth).json()
    with grpc_client.channel(f"127.0.0.1:{server.grpc_port}") as channel:
        assert json.loads(grpc_client.predict(channel, "md3", jpeg, timeout=120, depth=depth)) == plain
        assert json.loads(grpc_client.predict(channel, "md3", jpeg, timeout=120))["code"] == 422


@pytest.fixture(scope="module")
def large() -> bytes:
    """A picture of 48 million pixels, in which made-up weights find a hundred objects with long outlines."""
    random = np.random.default_rng(0)
    pixels = cv2.resize(random.integers(0, 256, (30, 40, 3), dtype=np.uint8), (8000, 6000))
    return cv2.imencode(".jpg", pixels)[1].tobytes()


MUCH = {"masks": "polygon", "conf_threshold": "0", "max_detections": "300"}


def test_an_answer_of_six_megabytes_goes_over_grpc(server: Server, large: bytes) -> None:
    with grpc_client.channel(f"127.0.0.1:{server.grpc_port}") as channel:
        answer = grpc_client.predict(channel, "md1", large, MUCH, timeout=120)
    print(f"answer of {len(answer) / 1e6:.1f} MB")
    assert len(answer) > 6e6
    assert len(json.loads(answer)) == 100


def test_a_request_of_almost_32_mebibytes_goes_over_grpc(server: Server, large: bytes) -> None:
    padded = large + bytes(32 * 2**20 - len(large) - 1000)  # a decoder does not look behind the picture's end
    with grpc_client.channel(f"127.0.0.1:{server.grpc_port}") as channel:
        answer = json.loads(grpc_client.predict(channel, "md1", padded, {"masks": "none"}, timeout=120))
    assert isinstance(answer, list), answer


def test_an_answer_that_is_too_large_is_refused_and_the_worker_goes_on(
    server: Server, large: bytes, jpeg: bytes
) -> None:
    """Six of them are more than the server hands on: TorchServe itself would end the connection without a word."""
    pids = server.pids("md1")
    body = json.dumps({"instances": [{"image": {"b64": base64.b64encode(large).decode()}}] * 6})
    headers = {"X-Masks": "polygon", "X-Conf-Threshold": "0", "X-Max-Detections": "300"}
    response = requests.post(f"{server.url}/predictions/md1", data=body, headers=headers, timeout=120)
    assert response.status_code == 413, response.text[:300]
    print(response.text[:300])
    refused = response.json()["predictions"]
    assert [each["type"] for each in refused] == ["answer_too_large"] * 6
    assert "max_detections" in refused[0]["message"]
    assert server.predict("md1", jpeg).status_code == 200
    assert server.pids("md1") == pids


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
    (pid,), others = server.pids("md3"), server.pids("md1")
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
        if i % 4 == 0:  # half of the pictures go to the model of colour
            del sent["depth"]
        statuses.append(post(server, "md1" if i % 4 == 0 else "md3", **sent, conf_threshold=b"0.9").status_code)
    print({status: statuses.count(status) for status in sorted(set(statuses))})
    assert max(statuses) < 500
    assert (server.pids("md3"), server.pids("md1")) == ([pid], others)
    after = psutil.Process(pid).memory_info().rss
    print(f"worker: {before / 1e6:.0f} MB, then {after / 1e6:.0f} MB")
    assert after < MOST_MEMORY
    assert after - before < 100e6


def pair(width: int, height: int, suffix: str = ".jpg") -> dict[str, bytes]:
    """A picture of that size, and its depth."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture = cv2.imencode(suffix, cv2.resize(pixels, (width, height)))[1].tobytes()
    return {"image": picture, "depth": cv2.imencode(".png", np.full((height, width), 1200, np.uint16))[1].tobytes()}


def test_no_shape_of_input_makes_a_pipeline_grow(store: Path) -> None:
    """Of 38 shapes, after the first half memory stays: were all kept that is prepared for them, 70 MB would come."""
    command = [sys.executable, "-m", "tests.harness.shapes", store / "md3.mar"]
    environment = os.environ | {"MALLOC_ARENA_MAX": "1"}  # as serve.py starts workers
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, cwd=ROOT, env=environment)
    memory = json.loads(done.stdout)
    print([round(each) for each in memory])
    assert np.mean(memory[-4:]) - np.mean(memory[8:12]) < 40


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_large_picture_takes_a_worker_few_bytes_a_pixel(server: Server, suffix: str) -> None:
    (pid,) = server.pids("md3")
    sent = pair(6000, 4000, suffix)
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # what the peak is counted from
    before = psutil.Process(pid).memory_info().rss
    assert post(server, "md3", **sent, masks=b"none").status_code == 200
    peak = int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    assert peak - before < 12 * 24e6, "bytes a pixel more at the peak, its files among them"


def qpstest(folder: Path, *words: str | Path) -> tuple[str, list[dict[str, Any]]]:
    """Run qpstest.py on md1 in that folder → what it printed, and its loads, none of which had an error."""
    load = ["--concurrency", "1,2", "--warmup", "0", "--duration", "6", "--pictures", "640x480", "--processes", "1"]
    command = [sys.executable, ROOT / "qpstest.py", "--model", "md1", *load, "--json", folder / "r.json", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    loads = json.loads((folder / "r.json").read_text())["loads"]
    assert loads, done.stdout
    assert all(load["errors"] == 0 and load["qps"] > 0 for load in loads), done.stdout
    return done.stdout, loads


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_server_is_measured(server: Server, tmp_path: Path, protocol: str) -> None:
    address = ["--url", server.url if protocol == "http" else f"127.0.0.1:{server.grpc_port}", "--protocol", protocol]
    files = ["--csv", tmp_path / "r.csv", "--plot", tmp_path / "r.html"]
    printed, loads = qpstest(tmp_path, "--mode", "3", *address, "--rate", "0.5", "--vis", "1", *files)
    assert [load["concurrency"] for load in loads] == [1, 2, None]
    assert protocol == "grpc" or loads[0]["infer_ms"] > 0
    assert printed.count("wrote ") == 3
    assert "<svg" in (tmp_path / "r.html").read_text()
    drawn = Path(printed.partition("drew the answer to 640x480.jpg: ")[2].partition("\n")[0])
    assert drawn.read_bytes().startswith(b"\xff\xd8")
    drawn.unlink()


@pytest.mark.parametrize("where", ["http", "grpc", "engine"])
def test_models_of_depth_are_measured_with_a_recording(
    server: Server, store: Path, recording: Path, tmp_path: Path, where: str
) -> None:
    address = {
        "http": ["--url", server.url],
        "grpc": ["--protocol", "grpc", "--url", f"127.0.0.1:{server.grpc_port}"],
        "engine": ["--mode", "engine", "--archive", store / "md3.mar"],
    }[where]
    printed, _ = qpstest(tmp_path, "--model", "md3", "--pictures", recording, "--concurrency", "2", *address)
    assert f"pictures: {recording} (3)" in printed


@pytest.mark.parametrize("words", [("2",), ("1", "--backend", "eager"), ("1", "--backend", "torchscript")])
def test_the_archive_is_measured_without_a_server(store: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    own = ("--weights", store / "md1.pth") if words[0] == "1" else ()
    printed, _ = qpstest(tmp_path, "--archive", store / "md1.mar", "--vis", "1", "--mode", *words, *own)
    assert ("openvino fp32" if words[0] == "2" else words[2]) in printed.splitlines()[0]

"""Faces over HTTP, as a user asks for them."""

import json
import re
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from detserve.worker.metrics import REJECTED


def faces(answer: requests.Response) -> list[dict]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    return answer.json()


def test_curl_answers_with_the_face(server, astronaut: bytes) -> None:
    answer = server.predict("fd1", astronaut)
    (face,) = faces(answer)
    # The published decode at the picture's own size, 512x512 pixels: 181.5, 58.2 to 269.9, 180 or so.
    cx, cy, w, h = face["xywh_ratio"]
    assert (cx, cy) == pytest.approx((0.442, 0.23), abs=0.02)
    assert (w, h) == pytest.approx((0.17, 0.235), abs=0.03)
    assert 0.8 < face["conf"] <= 1
    eye, other_eye, nose, mouth, other_mouth = (face["landmarks_ratio"][i : i + 2] for i in range(0, 10, 2))
    assert eye[0] < nose[0] < other_eye[0]
    assert mouth[0] < other_mouth[0]
    assert eye[1] < nose[1] < mouth[1]


def test_headers_tell_the_picture_the_model_and_the_stages(server, astronaut: bytes) -> None:
    headers = server.predict("fd1", astronaut).headers
    assert headers["X-Image-Size"] == "512x512"
    assert headers["X-Model"] == "fd1/1.0"
    stages = dict(re.findall(r"(\w+);dur=([\d.]+)", headers["Server-Timing"]))
    assert list(stages) == ["decode", "infer", "post"]
    assert all(float(ms) > 0 for ms in stages.values())


@pytest.mark.parametrize("field", ["data", "image", "file"])
def test_multipart_takes_the_picture_and_the_options(server, astronaut: bytes, field: str) -> None:
    url = f"{server.url}/predictions/fd1"
    plain = requests.post(url, files={field: ("a.png", astronaut, "image/png")}, timeout=30)
    assert len(faces(plain)) == 1
    strict = requests.post(url, files={field: ("a.png", astronaut)}, data={"conf_threshold": "0.999"}, timeout=30)
    assert faces(strict) == []


def test_options_of_one_request_hold_for_that_request_alone(server, astronaut: bytes) -> None:
    assert faces(server.predict("fd1", astronaut, X_Conf_Threshold="0.999")) == []
    many = faces(server.predict("fd1", astronaut, x_conf_threshold="0.02", X_IoU_Threshold="1"))
    assert len(many) > 3
    assert [face["conf"] for face in many] == sorted((face["conf"] for face in many), reverse=True)
    two = faces(server.predict("fd1", astronaut, x_conf_threshold="0.02", x_iou_threshold="1", x_max_detections="2"))
    assert two == many[:2]
    large = faces(server.predict("fd1", astronaut, x_conf_threshold="0.02", x_iou_threshold="1", x_min_size="0.15"))
    assert large == [face for face in many if min(face["xywh_ratio"][2:]) >= 0.15]
    assert len(faces(server.predict("fd1", astronaut))) == 1


def error(answer: requests.Response, status: int) -> dict:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["code"] == status
    assert set(body) == {"code", "type", "message"}
    assert "/" not in body["message"].replace("(curl -T FILE)", "")
    return body


@pytest.mark.parametrize("value", ["lots", "1.01", "-1", "nan"])
def test_an_option_out_of_range_is_422(server, astronaut: bytes, value: str) -> None:
    body = error(server.predict("fd1", astronaut, X_Conf_Threshold=value), 422)
    assert body["type"] == "invalid_option"
    assert "conf_threshold" in body["message"]


def test_what_is_no_picture_is_400_and_other_formats_are_415(server) -> None:
    assert error(server.predict("fd1", b"hello"), 400)["type"] == "bad_picture"
    assert error(server.predict("fd1", b"%PDF-1.7\n"), 415)["type"] == "unsupported_format"
    heic = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64)
    assert "JPEG" in error(server.predict("fd1", heic), 415)["message"]


def test_a_request_without_a_picture_says_how_to_send_one(server) -> None:
    url = f"{server.url}/predictions/fd1"
    for answer in (
        requests.post(url, data={"conf_threshold": "0.5"}, timeout=30),
        requests.post(url, json={"image": "?"}, timeout=30),
        requests.post(url, files={"picture": b"x"}, timeout=30),
    ):
        assert "curl -T" in error(answer, 400)["message"]
    assert error(requests.post(url, timeout=30), 400)


def test_a_body_over_the_limit_is_413_and_one_below_is_taken(server, astronaut: bytes) -> None:
    padded = astronaut + bytes(30 * 2**20 - len(astronaut))
    assert len(faces(server.predict("fd1", padded))) == 1
    try:
        status = server.predict("fd1", astronaut + bytes(33 * 2**20)).status_code
    except requests.ConnectionError:  # TorchServe may hang up on the rest of the body.
        status = 413
    assert status == 413


@pytest.mark.slow
def test_sixteen_of_the_largest_bodies_at_once_are_answered(server, astronaut: bytes) -> None:
    largest, java = astronaut + bytes(32 * 2**20 - len(astronaut)), server.java
    assert len(faces(server.predict("fd1", largest))) == 1
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: server.predict("fd1", largest), range(16)))
    said = {answer.status_code: answer.text for answer in answers}
    assert 200 in said and set(said) <= {200, 503}, said
    assert len(faces(server.predict("fd1", astronaut))) == 1
    assert server.java == java, "Java was started anew"


def test_an_unknown_model_is_404(server, astronaut: bytes) -> None:
    assert server.predict("fd9", astronaut).status_code == 404


def huge_png() -> bytes:
    """A few bytes that declare 60000x60000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
        + b"\0\0\0\4IDAT"
        + bytes(8)
    )


def test_a_bad_picture_leaves_its_batch_alone(server, astronaut: bytes) -> None:
    """Eight requests in one batch, every kind of fault among them."""
    name = "fdbatch"
    query = f"url=fd1.mar&model_name={name}&batch_size=8&max_batch_delay=2000&initial_workers=1&synchronous=true"
    assert requests.post(f"{server.management}/models?{query}", timeout=60).status_code == 200
    good, before = server.predict("fd1", astronaut).json(), server.pids(name)
    requests_sent = [
        (astronaut, {}), (b"", {}), (astronaut[:90_000], {}), (astronaut, {"x_conf_threshold": "no"}),
        (huge_png(), {}), (astronaut, {"x_conf_threshold": "0.999"}), (b"x" * 5000, {}), (astronaut, {}),
    ]  # fmt: skip
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda sent: server.predict(name, sent[0], **sent[1]), requests_sent))
    assert [answer.status_code for answer in answers] == [200, 400, 400, 422, 413, 200, 400, 200]
    assert answers[0].json() == answers[7].json() == good
    assert answers[5].json() == []
    batches: dict[str, str] = {}
    deadline = time.monotonic() + 10
    while len(batches) < 2 and time.monotonic() < deadline:  # metrics are handed over once a second
        time.sleep(0.2)
        rows = re.findall(r"^BatchSize_(sum|count){(.*?)} ([\d.e+-]+)$", server.metrics(), re.MULTILINE)
        batches = {part: value for part, labels, value in rows if f'ModelName="{name}"' in labels}
    assert {part: float(value) for part, value in batches.items()} == {"sum": 8, "count": 1}, "not one batch"
    assert server.pids(name) == before
    assert requests.delete(f"{server.management}/models/{name}", timeout=60).status_code == 200


def test_registration_by_hand_means_what_it_says(server, astronaut: bytes) -> None:
    query = "url=fd1.mar&batch_size=8&max_batch_delay=2&initial_workers=2&model_name=fd2&synchronous=true"
    assert requests.post(f"{server.management}/models?{query}", timeout=60).status_code == 200
    (model,) = requests.get(f"{server.management}/models/fd2", timeout=10).json()
    assert (model["batchSize"], model["maxBatchDelay"], len(model["workers"])) == (8, 2, 2)
    assert [worker["status"] for worker in model["workers"]] == ["READY", "READY"]
    assert len(faces(server.predict("fd2", astronaut))) == 1
    assert requests.delete(f"{server.management}/models/fd2", timeout=60).status_code == 200


def test_every_odd_file_is_answered_as_its_note_says(server, shared: Path) -> None:
    notes = json.loads((shared / "images/odd/notes.json").read_text())
    pids = server.pids("fd1")
    for name, note in notes.items():
        data = (shared / "images/odd" / name).read_bytes()
        first, second = server.predict("fd1", data), server.predict("fd1", data)
        assert (first.status_code, first.content) == (second.status_code, second.content), name
        expected = {"decode": (200,), "4xx": (400, 413, 415), "either": (200, 400, 415)}[note["expect"]]
        assert first.status_code in expected, f"{name}: {first.status_code} {first.text}"
    assert server.pids("fd1") == pids


def test_orientation_is_applied_before_anything_is_measured(server, shared: Path) -> None:
    (upright,) = faces(server.predict("fd1", (shared / "images/odd/pillow_hopper.jpg").read_bytes()))
    for name in ("2.jpg", "3.jpg", "6.jpg", "8.jpg", "8.webp"):
        data = (shared / f"images/odd/pillow_hopper_orientation_{name}").read_bytes()
        (face,) = faces(server.predict("fd1", data))
        assert face["xywh_ratio"] == pytest.approx(upright["xywh_ratio"], abs=0.02), name


def test_pictures_of_people_and_of_none(server, shared: Path) -> None:
    labels = json.loads((shared / "images/labels.json").read_text())
    for name, label in labels.items():
        wanted = label.get("faces", len(label.get("noses", [])))
        if "words" not in label:
            found = faces(server.predict("fd640", (shared / "images" / name).read_bytes()))
            assert len(found) == wanted, name


def test_metrics_count_what_happened(server, astronaut: bytes) -> None:
    def value(name: str, **labels: str) -> float:
        wanted = [f'{key}="{text}"' for key, text in {"ModelName": "fd1", **labels}.items()]
        rows = re.findall(rf"^{name}{{(.*?)}} ([\d.e+-]+)$", server.metrics(), re.MULTILINE)
        return sum(float(number) for found, number in rows if all(w in found for w in wanted))

    names = ("DecodeTime", "InferenceTime", "PostprocessTime", "BatchSize", "Detections")

    def state() -> dict[str, float]:
        found = {f"{name} {part}": value(f"{name}_{part}") for name in names for part in ("sum", "count")}
        found |= {f"{name} all": value(f"{name}_bucket", le="+Inf") for name in names}
        return found | {"one face": value("Detections_bucket", le="1"), "bad": value(REJECTED, Reason="bad_picture")}

    time.sleep(2)  # what came before is handed over within a second
    before = state()
    server.predict("fd1", astronaut)
    server.predict("fd1", b"nothing")
    deadline = time.monotonic() + 10
    while (after := state())["bad"] == before["bad"] and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(0.5)  # they are handed over one after the other
    after = state()
    grown = {name: after[name] - before[name] for name in after}
    for name in names:
        assert grown[f"{name} count"] == grown[f"{name} all"] == (2 if name == "BatchSize" else 1), name
        assert grown[f"{name} sum"] > 0, name
    assert (grown["Detections sum"], grown["one face"], grown["bad"]) == (1, 1, 1)


def test_a_worker_fits_in_320_megabytes_and_loads_no_torch(server, astronaut: bytes) -> None:
    import psutil

    server.predict("fd1", astronaut)
    (pid,) = server.pids("fd1")
    worker = psutil.Process(pid)
    resident = worker.memory_info().rss / 1e6
    print(f"resident memory of a worker with the openvino backend: {resident:.0f} MB")
    assert not [each.path for each in worker.memory_maps() if "libtorch" in each.path]
    assert resident < 320, "with a network for each of seven shapes"

"""client.py as a user runs it, over HTTP and gRPC."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from detserve.pictures.decode import decode
from tests.harness.server import Server

ROOT = Path(__file__).parents[2]
PROTOCOLS = ("http", "grpc")


def run(server: Server, protocol: str, *arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    address = server.url if protocol == "http" else f"127.0.0.1:{server.grpc_port}"
    command = [sys.executable, ROOT / "client.py", *arguments, "--protocol", protocol, "--url", address]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == status, ended
    return ended


def answers(ended: subprocess.CompletedProcess[str]) -> list[list[dict]]:
    return [json.loads(line)["answer"] for line in ended.stdout.splitlines()]


@pytest.fixture(scope="module")
def photo(astronaut: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    path.write_bytes(astronaut)
    return path


def test_both_protocols_answer_the_same(server: Server, photo: Path, astronaut: bytes) -> None:
    wanted = server.predict("fd1", astronaut).json()
    assert len(wanted) == 1
    for protocol in PROTOCOLS:
        assert answers(run(server, protocol, photo)) == [wanted]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_options_reach_the_server(server: Server, photo: Path, protocol: str) -> None:
    assert answers(run(server, protocol, photo, "--conf", "0.999")) == [[]]
    (many,) = answers(run(server, protocol, photo, "--conf", "0.02", "--iou", "1"))
    (two,) = answers(run(server, protocol, photo, "--conf", "0.02", "--iou", "1", "--max-detections", "2"))
    (large,) = answers(run(server, protocol, photo, "--conf", "0.02", "--iou", "1", "--min-size", "0.15"))
    assert len(many) > 3
    assert two == many[:2]
    assert large == [face for face in many if min(face["xywh_ratio"][2:]) >= 0.15]
    assert answers(run(server, protocol, photo, "--detect", "on", "--split", "lines"))[0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_error_is_a_line_and_status_1_and_leaves_the_others_alone(
    server: Server, photo: Path, tmp_path: Path, protocol: str
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"hello")
    ended = run(server, protocol, bad, photo, status=1)
    assert ended.stderr.startswith(f"client: {bad}: 400: the body is not a picture")
    assert ended.stderr.count("\n") == 1
    assert [len(answer) for answer in answers(ended)] == [1]
    assert (
        "422: conf_threshold must lie between 0 and 1" in run(server, protocol, photo, "--conf", "2", status=1).stderr
    )
    assert ": Model not found: fd9" in run(server, protocol, photo, "--model", "fd9", status=1).stderr


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_drawn_picture_lies_beside_its_json(server: Server, photo: Path, tmp_path: Path, protocol: str) -> None:
    wanted = answers(run(server, protocol, photo))[0]
    ended = run(server, protocol, photo.parent, "--out", tmp_path / "result")
    assert (ended.stdout, ended.stderr) == ("", "")
    assert json.loads((tmp_path / "result/astronaut.json").read_text()) == wanted
    drawn = decode((tmp_path / "result/astronaut.drawn.jpg").read_bytes()).rgb.astype(int)
    different = (abs(drawn - decode(photo.read_bytes()).rgb) > 60).any(axis=2)
    cx, cy, w, h = (512 * value for value in wanted[0]["xywh_ratio"])
    assert different[round(cy), round(cx - w / 2)]
    assert different[round(cy + h / 2), round(cx)]
    assert different.mean() < 0.03


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_maps_lie_over_the_picture(server: Server, photo: Path, tmp_path: Path, protocol: str) -> None:
    run(server, protocol, photo, "--maps", "--json", "--out", tmp_path)
    (path,) = tmp_path.glob("astronaut.map-*.jpg")
    heat = decode(path.read_bytes()).rgb.astype(int) - decode(photo.read_bytes()).rgb // 2
    warmth = cv2.boxFilter((heat[..., 0] - heat[..., 2]).astype(np.float32), -1, (31, 31))
    cx, cy, w, h = (512 * value for value in json.loads((tmp_path / "astronaut.json").read_text())[0]["xywh_ratio"])
    y, x = np.unravel_index(warmth.argmax(), warmth.shape)
    assert abs(x - cx) < w / 2
    assert abs(y - cy) < h / 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pictures_of_30_megabytes_travel(server: Server, astronaut: bytes, tmp_path: Path, protocol: str) -> None:
    (tmp_path / "large.png").write_bytes(astronaut + bytes(30 * 2**20 - len(astronaut)))
    assert len(answers(run(server, protocol, tmp_path))[0]) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_picture_is_status_1_and_wrong_usage_2(server: Server, tmp_path: Path, protocol: str) -> None:
    assert run(server, protocol, tmp_path, status=1).stderr.startswith(f"client: no picture at {tmp_path}")
    assert "usage: " in run(server, protocol, status=2).stderr


def test_a_reader_that_leaves_is_no_error(server: Server, photo: Path) -> None:
    command = f"{sys.executable} {ROOT / 'client.py'} {photo} {photo.parent}/* --url {server.url} | true"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stderr == ""

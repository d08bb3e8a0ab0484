"""Faces covered through a real server: the detector finds none where one was, in pictures and in a video."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from detserve.client import Client, Face
from detserve.client.faces import STYLES
from tests.harness.server import Server

ROOT = Path(__file__).parents[2]
FOUND = 0.3


def run(server: Server, *arguments: str | Path) -> None:
    command = [sys.executable, ROOT / "client.py", *arguments, "--url", server.url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == 0, ended.stderr


def overlap(a: Face, b: Face) -> bool:
    """Whether two faces share a pixel."""
    return (
        max(a.box.left, b.box.left) < min(a.box.right, b.box.right)
        and max(a.box.top, b.box.top) < min(a.box.bottom, b.box.bottom)
    )  # fmt: skip


def check(server: Server, pictures: Sequence[Path], out: Path, *arguments: str) -> int:
    """Cover the faces of pictures, and look whether there are any where some were → how many there were."""
    run(server, *pictures, "--blur", *arguments, "--out", out)
    count = 0
    with Client(server.url) as client:
        for path in pictures:
            before = client.faces(path, conf=FOUND)
            after = client.faces(out / f"{path.stem}.blurred.jpg", conf=FOUND)
            assert before.size == after.size
            left = [face for face in after if any(overlap(face, other) for other in before)]
            assert not left, (path.name, arguments, left)
            count += len(before)
    return count


def test_no_face_is_found_where_one_was_on_two_pictures(server: Server, shared: Path, tmp_path: Path) -> None:
    pictures = [shared / "images/facenet_multiface.jpg", shared / "images/ternaus_13.jpg"]
    assert check(server, pictures, tmp_path) >= 7


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shape", ["box", "ellipse"])
def test_no_face_is_found_where_one_was(style: str, shape: str, server: Server, shared: Path, tmp_path: Path) -> None:
    pictures = sorted((shared / "images").glob("*.jpg"))
    assert check(server, pictures, tmp_path, style, "--shape", shape) >= 20


def test_crops_and_aligned_faces_are_found_as_faces(server: Server, shared: Path, tmp_path: Path) -> None:
    """Each crop holds the face that it was cut for, and on each aligned one the eyes are where they are to be."""
    run(
        server, shared / "images/facenet_multiface.jpg", "--crops", "--align", "112", "--conf", "0.6", "--out", tmp_path
    )
    crops, aligned = sorted(tmp_path.glob("*.face-*.png")), sorted(tmp_path.glob("*.aligned-*.png"))
    assert len(crops) == len(aligned) == 6
    with Client(server.url) as client:
        assert all(client.faces(path) for path in crops)
        for path in aligned:
            face = max(client.faces(path, conf=0.2), key=lambda face: face.conf)
            assert face.landmarks is not None
            assert face.landmarks.right_eye == pytest.approx((38.3, 51.7), abs=9), path.name
            assert face.landmarks.left_eye == pytest.approx((73.5, 51.5), abs=9), path.name


@pytest.mark.slow
@pytest.mark.timed
def test_videos_take_no_more_memory_the_longer_they_are_and_are_done_in_time(server: Server, tmp_path: Path) -> None:
    from benchmarks.video import blur, make

    memory = {}
    for frames in (60, 300):  # the shorter one first: what is asked of the system is the most of all children so far
        make(tmp_path / "party.mp4", frames)
        taken = blur(tmp_path / "party.mp4", tmp_path / "out", server.url)
        memory[frames] = taken.memory
        print(f"{frames} frames: {frames / taken.seconds:.1f} a second")
    assert memory[300] < 1.15 * memory[60], memory
    assert 300 / taken.seconds >= 25

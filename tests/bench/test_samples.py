"""What is sent."""

from pathlib import Path

import pytest

from detserve.bench.samples import MIX, load, photograph
from detserve.errors import SetupError
from detserve.pictures.decode import read_header
from detserve.pictures.depth import WithDepth


def test_the_mix_has_its_sizes() -> None:
    pictures = load("mix")
    assert [f"{'x'.join(map(str, read_header(p.data).size))}" for p in pictures] == list(MIX)


@pytest.mark.parametrize("size", [(512, 512), (1920, 1440), (300, 900)])
def test_a_made_photograph_weighs_what_a_cameras_would(size: tuple[int, int]) -> None:
    data = photograph(*size)
    header = read_header(data)
    assert (header.format, header.size) == ("JPEG", size)
    assert 1 < len(data) * 8 / (size[0] * size[1]) < 6  # bits a pixel; flat ones have far less


def test_the_same_at_every_call() -> None:
    assert load("640x480") == load("640x480")


def test_a_folder_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    assert load(str(tmp_path)) == [("a.png", b"a.png"), ("b.JPG", b"b.JPG")]
    assert load(str(tmp_path / "notes.txt")) == [("notes.txt", b"notes.txt")]


def test_a_recording_in_pairs(tmp_path: Path) -> None:
    for name in ("color_image/b.jpg", "color_image/a.png", "depth_image/a.png", "depth_image/b.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    assert load(str(tmp_path)) == [
        ("a.png", WithDepth(b"color_image/a.png", b"depth_image/a.png")),
        ("b.jpg", WithDepth(b"color_image/b.jpg", b"depth_image/b.npy")),
    ]


def test_nothing_to_send_is_said(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no pictures in"):
        load(str(tmp_path))
    with pytest.raises(SetupError, match="No such file"):
        load(str(tmp_path / "missing.jpg"))

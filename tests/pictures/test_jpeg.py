"""JPEGs by the faster of the two decoders, and by the other where that is not installed or does not take the file."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest

from detserve.bench import samples
from detserve.errors import BadPicture
from detserve.pictures.decode import decode
from tests.pictures.encoded import WHOLE, refused, saved, smooth

BOTH = pytest.mark.parametrize("decoder", ["simplejpeg", "OpenCV"], indirect=True)


@pytest.fixture
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides the faster one where the other is asked for."""
    if request.param == "OpenCV":
        monkeypatch.setitem(sys.modules, "simplejpeg", None)


def photograph(astronaut: bytes, *options: int) -> bytearray:
    bgr = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR)
    return bytearray(cv2.imencode(".jpg", bgr, options)[1].tobytes())


@BOTH
@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("sides", [(48, 32), (47, 33), (1, 9)])
def test_both_give_the_size_and_the_colours(sides: tuple[int, int], reduction: int) -> None:
    import PIL.Image

    width, height = sides
    picture = PIL.Image.fromarray(smooth(width, height))
    small = (-(-width // reduction), -(-height // reduction))
    for options in ({}, {"subsampling": 0}, {"progressive": True}):
        found = decode(
            saved(picture, "JPEG", quality=95, **options), target_size=lambda _: (0.5 * side for side in small)
        )
        assert found.size == sides
        if min(sides) > 8:
            wanted = cv2.resize(smooth(width, height), small, interpolation=cv2.INTER_AREA).astype(float)
            assert np.abs(cv2.resize(found.rgb, small) - wanted).mean() < 12
    grey = decode(saved(picture.convert("L"), "JPEG", quality=95)).rgb
    assert (grey == grey[..., :1]).all()


@BOTH
@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("sampling", [0x111111, 0x211111, 0x221111, 0x121111, 0x411111])
def test_every_sampling_of_colour_is_read(sampling: int, astronaut: bytes) -> None:
    data = photograph(astronaut, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling)
    wanted = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR_RGB).astype(float)
    assert np.abs(decode(data).rgb - wanted).mean() < 5


def test_a_hole_in_the_middle_is_refused() -> None:
    """Where libjpeg tells: what follows a hole may also decode, as another picture."""
    whole = samples.photograph(1280, 720)
    half = len(whole) // 2
    for holed in (whole[:half] + bytes(500) + whole[half + 500 :], whole[: half + 1] + whole[-2:]):
        assert "a part of it is missing" in refused(holed, BadPicture)
    assert decode(whole).size == (1280, 720)


def test_a_part_between_restarts_that_is_missing_is_refused(astronaut: bytes) -> None:
    whole = photograph(astronaut, cv2.IMWRITE_JPEG_RST_INTERVAL, 4)
    at = whole.index(b"\xff\xd3", len(whole) // 2)
    assert "a part of it is missing" in refused(bytes(whole[:at] + whole[whole.index(b"\xff\xd5", at) :]), BadPicture)


@BOTH
@pytest.mark.usefixtures("decoder")
def test_harmless_oddities_are_read(astronaut: bytes) -> None:
    """Zeros before the end, and the parameters of a scan that some phones write."""
    whole = photograph(astronaut)
    padded = whole[:-2] + bytes(40) + whole[-2:]
    at = whole.index(b"\xff\xda")
    length = int.from_bytes(whole[at + 2 : at + 4], "big")
    odd = bytearray(whole)
    odd[at + 2 + length - 3 : at + 2 + length] = bytes(3)
    for data in (padded, odd):
        assert (decode(bytes(data)).rgb == decode(bytes(whole)).rgb).all()


def test_what_the_faster_one_does_not_take_the_other_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise ValueError("Could not determine subsampling level of JPEG image")

    monkeypatch.setattr("simplejpeg.decode_jpeg", unknown)
    assert decode(WHOLE["JPEG"]).size == (48, 32)

"""Pictures that are broken, hostile or of other formats: refused with a 4xx and nothing else."""

from __future__ import annotations

import random
import re
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve.errors import BadPicture, PictureTooLarge, RequestError, UnsupportedFormat
from detserve.pictures.decode import decode, read_header
from tests.pictures.encoded import (
    FORMATS,
    ROOT,
    WHOLE,
    chunk,
    png,
    refused,
    segment,
    tiff,
)

# What is refused


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0"),
        ("HEIC", b"\0\0\0\x18ftypmif1\0\0\0\0"),
        ("AVIF", b"\0\0\0\x1cftypavif\0\0\0\0"),
        ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n"),
        ("JPEG XL", b"\xff\x0a\0\0"),
        ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n"),
        ("Photoshop", b"8BPS\0\x01"),
        ("ICO", b"\0\0\x01\0\x01\0"),
        ("PNM", b"P6\n2 2\n255\n"),
        ("SVG", b'\n<svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("SVG", b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg width="1">'),
        ("PDF", b"%PDF-1.7\n"),
        ("QOI", b"qoif\0\0"),
    ],
)
def test_other_formats_are_named_with_what_is_served(name: str, start: bytes) -> None:
    message = refused(start + bytes(100), UnsupportedFormat)
    assert name in message and all(served in message for served in FORMATS)
    with pytest.raises(UnsupportedFormat):
        read_header(start)


@pytest.mark.parametrize("data", [b"hello", b"\0", b"<html><svgs>", b"\xff\xd8", b"....ftypisom", b"{}", b"GIF88a  "])
def test_what_is_no_picture_is_a_bad_one(data: bytes) -> None:
    assert "not a picture" in refused(data, BadPicture)


def test_an_empty_body_is_named() -> None:
    assert "empty body" in refused(b"", BadPicture)


def test_the_limit_counts_pixels_exactly() -> None:
    for name in FORMATS:
        assert decode(WHOLE[name], max_pixels=48 * 32).size == (48, 32)
        message = refused(WHOLE[name], PictureTooLarge, max_pixels=48 * 32 - 1)
        assert "48x32" in message and "1535" in message


def _bombs() -> dict[str, bytes]:
    """Small bodies that declare large pictures, or pictures in large parts."""
    control = chunk(b"acTL", struct.pack(">II", 2, 0))
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 40000, 40000, 0, 0, 1, 1, 1, 0))
    gif = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(range(6)) + b"!\xf9\4\x08\0\0\0\0,"
    tags = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 322: 20000, 323: 20000, 324: -1}
    zeros = zlib.compress(bytes(400_000_000), 1)
    size = WHOLE["JPEG"].index(b"\xff\xc0") + 5
    canvas = b"VP8X\x0a\0\0\0\2\0\0\0" + (16382).to_bytes(3, "little") * 2
    part = bytes(6) + (47).to_bytes(3, "little") + (31).to_bytes(3, "little") + bytes(4) + WHOLE["WebP"][12:]
    webp = b"WEBP" + canvas + b"ANIM\6\0\0\0" + bytes(6) + b"ANMF" + struct.pack("<I", len(part)) + part
    return {
        "jpeg": WHOLE["JPEG"][:size] + struct.pack(">HH", 65535, 65535) + WHOLE["JPEG"][size + 4 :],
        "png": png(8, 2, [b"\0"], 2**31 - 1),
        "png, animated": png(8, 0, [b"\0"], 40000, control, frame, height=40000),
        # The frame is larger than the screen, and to be cleared after it is shown.
        "gif": gif + struct.pack("<HHHHB", 0, 0, 40000, 40000, 0) + b"\x02\x02\x44\x01\0;",
        "webp": b"RIFF" + struct.pack("<I", len(webp)) + webp,
        "bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 2**31 - 1, 1000, 1, 24, 0, 0, 0, 0, 0, 0),
        "tiff, tiles": tiff(tags | {325: len(zeros)}, zeros),
    }


def test_large_pictures_are_refused_at_no_cost(tmp_path: Path) -> None:
    """In a process of its own, whose peak of memory is nobody else's."""
    for name, data in _bombs().items():
        (tmp_path / name).write_bytes(data)
    script = (
        "import resource, sys, time\n"
        "from pathlib import Path\n"
        "from detserve.errors import RequestError\n"
        "from detserve.pictures.decode import decode\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "for path in Path(sys.argv[1]).iterdir():\n"
        "    data, before, start = path.read_bytes(), peak(), time.perf_counter()\n"
        "    try:\n"
        "        decode(data)\n"
        "        status = 200\n"
        "    except RequestError as error:\n"
        "        status = error.status\n"
        "    print(path.name, status, peak() - before, time.perf_counter() - start, sep=';')\n"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line.split(";") for line in done.stdout.splitlines()]
    assert {line[0] for line in lines} == set(_bombs())
    for name, status, megabytes, seconds in lines:
        assert status == "413", name
        assert int(megabytes) < 30, name
        assert float(seconds) < 0.5, name


def test_a_jpeg_of_nothing_but_segments_is_given_up() -> None:
    data = WHOLE["JPEG"]
    assert decode(data[:2] + 100 * segment(0xFE, b"") + data[2:]).size == (48, 32)
    refused(data[:2] + 100_000 * segment(0xFE, b"") + data[2:], BadPicture)


@pytest.mark.parametrize(("at", "value"), [(4, 12), (9, 2)])
def test_a_jpeg_of_other_samples_is_unsupported(at: int, value: int) -> None:
    data = bytearray(WHOLE["JPEG"])
    data[data.index(b"\xff\xc0") + at] = value
    assert f" {value} " in refused(bytes(data), UnsupportedFormat)


def test_a_picture_without_pixels_is_a_bad_one() -> None:
    data = bytearray(WHOLE["JPEG"])
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 2] = b"\0\0"
    assert "no pixels" in refused(bytes(data), BadPicture)
    with pytest.raises(BadPicture):
        read_header(bytes(data))


def test_a_second_header_does_not_pass_the_limit() -> None:
    data = WHOLE["JPEG, CMYK"]
    at, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    second = bytearray(data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4])])
    second[5:9] = struct.pack(">HH", 60000, 60000)
    assert "more than one header" in refused(data[:scan] + bytes(second) + data[scan:], BadPicture)


def test_pixels_of_another_size_than_the_header_says_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simplejpeg.decode_jpeg", lambda *_, **__: np.zeros((32, 47, 3), np.uint8))
    assert "do not fit" in refused(WHOLE["JPEG"], BadPicture)


# What is broken or cut short


def test_a_jpeg_says_that_it_is_cut_short() -> None:
    assert "cut short" in refused(WHOLE["JPEG"][:-2], BadPicture)
    assert read_header(WHOLE["JPEG"][:-2]).size == (48, 32)


def test_junk_and_fill_between_the_segments_of_a_jpeg_are_skipped() -> None:
    data = WHOLE["JPEG"]
    at = data.index(b"\xff\xdb")
    for junk in (b"\xff\xff\xff", b"junk", b"\xff\0junk\xff\0", b"\xff\x01", b"\xff\xd0"):
        np.testing.assert_array_equal(decode(data[:at] + junk + data[at:]).rgb, decode(data).rgb)
        assert "cut short" in refused((data[:at] + junk + data[at:])[:-2])


def test_bytes_after_the_end_of_a_jpeg_do_not_matter() -> None:
    data = WHOLE["JPEG"]
    np.testing.assert_array_equal(decode(data + bytes(100)).rgb, decode(data).rgb)
    np.testing.assert_array_equal(decode(data + data[: len(data) // 2]).rgb, decode(data).rgb)


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture() -> None:
    data = WHOLE["JPEG"]
    with_thumbnail = data[:2] + segment(0xE1, b"Exif\0\0II*\0\0\0\0\0" + data) + data[2:]
    np.testing.assert_array_equal(decode(with_thumbnail).rgb, decode(data).rgb)
    for cut in range(len(data), len(with_thumbnail)):
        assert "cut short" in refused(with_thumbnail[:cut], BadPicture)


@pytest.mark.parametrize("name", [name for name in WHOLE if name.startswith("JPEG")])
def test_every_cut_of_a_jpeg_is_refused(name: str) -> None:
    for cut in range(len(WHOLE[name])):
        refused(WHOLE[name][:cut], BadPicture)


@given(st.sampled_from([name for name in WHOLE if not name.startswith("JPEG")]), st.floats(0, 1, exclude_max=True))
def test_a_cut_picture_is_refused_or_read_whole(name: str, share: float) -> None:
    data = WHOLE[name][: int(share * len(WHOLE[name]))]
    try:
        rgb = decode(data).rgb
    except RequestError as error:
        assert 400 <= error.status < 500
    else:
        np.testing.assert_array_equal(rgb, decode(WHOLE[name]).rgb)


@pytest.mark.parametrize("name", WHOLE)
def test_nothing_but_a_refusal_comes_of_a_damaged_picture(name: str) -> None:
    chance = random.Random(name)
    refused = 0
    for _ in range(300):
        data = bytearray(WHOLE[name])
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(chance.choice((len(data), min(len(data), 100))))  # the headers get most of it
            data[at] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
        try:
            picture = decode(data, max_pixels=1_000_000)
        except RequestError as error:
            refused += 1
            assert 400 <= error.status < 500
            assert not re.search(r"\n|/|\bat 0x|[<>]|\bobject\b", str(error))
        else:
            assert picture.rgb.shape == (picture.size[1], picture.size[0], 3)
            assert picture.rgb.dtype == np.uint8 and picture.rgb.flags.c_contiguous
    assert refused > 20


@given(st.sampled_from(sorted(WHOLE)), st.binary(max_size=200))
def test_nothing_but_a_refusal_comes_of_a_signature_before_noise(name: str, noise: bytes) -> None:
    refused(WHOLE[name][:12] + noise)


def test_a_picture_that_pillow_warns_of_is_read_in_silence() -> None:
    """Warnings are errors here."""
    frames = chunk(b"acTL", struct.pack(">II", 0, 0))
    row = bytes([10, 20, 30])
    with pytest.warns(UserWarning, match="APNG"):
        PIL.Image.open(BytesIO(png(8, 2, [row], 1, frames))).load()
    np.testing.assert_array_equal(decode(png(8, 2, [row], 1, frames)).rgb, [[[10, 20, 30]]])

"""Pictures of every kind, whole: decoded right, upright, on white."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detserve.errors import RequestError, UnsupportedFormat
from detserve.pictures.decode import Image, decode, read_header
from tests.pictures.encoded import (
    FORMATS,
    LOSSLESS,
    SMOOTH,
    WHOLE,
    chunk,
    exif_of,
    png,
    refused,
    saved,
    segment,
    smooth,
    tiff,
)

# The pictures that others have met


def test_odd_pictures_are_answered_as_noted_and_always_the_same(shared: Path) -> None:
    folder = shared / "images" / "odd"
    notes = json.loads((folder / "notes.json").read_text())
    assert len(notes) > 20
    for name, note in notes.items():
        data = (folder / name).read_bytes()
        answers: list[Image | str] = []
        for _ in range(2):
            try:
                answers.append(decode(data))
            except RequestError as error:
                assert 400 <= error.status < 500
                answers.append(str(error))
        first, second = answers
        if isinstance(first, Image) and isinstance(second, Image):
            assert note["expect"] != "4xx", name
            np.testing.assert_array_equal(first.rgb, second.rgb)
            assert first.size == read_header(data).size
            assert first.rgb.shape == (first.size[1], first.size[0], 3)
        else:
            assert note["expect"] != "decode", f"{name}: {first}"
            assert first == second


@pytest.mark.parametrize("turned", ["_orientation_2.jpg", "_orientation_3.jpg", "_orientation_6.jpg",
                                    "_orientation_8.jpg", "_orientation_8.webp", ".webp"])  # fmt: skip
def test_a_turned_portrait_is_decoded_upright(shared: Path, turned: str) -> None:
    folder = shared / "images" / "odd"
    upright = decode((folder / "pillow_hopper.jpg").read_bytes()).rgb.astype(float)
    rgb = decode((folder / f"pillow_hopper{turned}").read_bytes()).rgb
    assert np.abs(rgb - upright).mean() < 6
    assert np.abs(rgb[::-1] - upright).mean() > 30  # what a wrong turn would give


def test_black_text_on_transparent_is_black_on_white(shared: Path) -> None:
    rgb = decode((shared / "images" / "odd" / "rapidocr_black_font_color_transparent.png").read_bytes()).rgb
    assert (rgb[0, 0] == 255).all()
    assert rgb.min() < 30


def test_photographs_are_decoded_as_pillow_decodes_them(shared: Path) -> None:
    data = (shared / "images" / "yolo_zidane.jpg").read_bytes()
    picture = decode(data)
    assert picture.size == (1280, 720) == read_header(data).size
    theirs = np.array(PIL.Image.open(BytesIO(data)).convert("RGB")).astype(float)
    assert np.abs(picture.rgb - theirs).mean() < 1


# Formats and modes


def _of_mode(mode: str) -> PIL.Image.Image:
    if mode == "I;16":
        return PIL.Image.fromarray(smooth()[..., 0].astype(np.uint16) * 256 + 200)
    if mode in ("LA", "RGBA"):
        picture = SMOOTH.convert(mode)
        picture.putalpha(PIL.Image.fromarray(smooth()[..., 1]))
        return picture
    if mode == "P":
        return SMOOTH.quantize(64)
    return SMOOTH.convert("L" if mode == "LA" else mode)


def _on_white(mode: str) -> NDArray[np.float64]:
    """What a picture of `_of_mode` shows, by plain arithmetic where it takes any."""
    picture = _of_mode(mode)
    if mode == "I;16":
        return np.repeat(smooth()[..., :1], 3, axis=2).astype(float)
    rgb = np.array(picture.convert("RGB")).astype(float)
    if mode in ("LA", "RGBA"):
        alpha = smooth()[..., 1:2] / 255
        colour = np.array(picture.convert("RGBA"))[..., :3]
        return colour * alpha + 255 * (1 - alpha)
    return rgb


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        *((mode, "PNG") for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16")),
        *((mode, "TIFF") for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16", "CMYK", "YCbCr")),
        *((mode, "BMP") for mode in ("1", "L", "P", "RGB")),
        *((mode, "WebP") for mode in ("L", "RGB", "RGBA")),
        *((mode, "GIF") for mode in ("1", "L", "P")),
    ],
)
def test_every_mode_of_a_lossless_format_keeps_its_colours(mode: str, name: str) -> None:
    data = saved(_of_mode(mode), name, **LOSSLESS.get(name, {}))
    picture = decode(data)
    assert picture.rgb.dtype == np.uint8 and picture.rgb.flags.c_contiguous
    assert picture.size == (48, 32) and picture.rgb.shape == (32, 48, 3)
    # Blending rounds; YCbCr goes through two conversions.
    assert np.abs(picture.rgb - _on_white(mode)).max() <= (3 if mode == "YCbCr" else 1)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_mode_of_jpeg_keeps_its_colours(mode: str, progressive: bool) -> None:
    data = saved(_of_mode(mode), "JPEG", quality=95, progressive=progressive)
    picture = decode(data)
    assert picture.rgb.dtype == np.uint8 and picture.rgb.flags.c_contiguous
    assert np.abs(picture.rgb - _on_white(mode)).mean() < 3


@pytest.mark.parametrize("name", FORMATS)
def test_any_kind_of_bytes_will_do(name: str) -> None:
    data = WHOLE[name]
    assert read_header(data).format == name
    for other in (bytearray(data), memoryview(data)):
        assert read_header(other) == read_header(data)
        np.testing.assert_array_equal(decode(other).rgb, decode(data).rgb)


def test_lab_is_decoded() -> None:
    grey = PIL.Image.merge("LAB", [PIL.Image.new("L", (8, 8), 255), *[PIL.Image.new("L", (8, 8), 128)] * 2])
    assert decode(saved(grey, "TIFF")).rgb.min() > 250


@pytest.mark.parametrize("name", ["WebP", "PNG", "GIF"])
def test_the_first_frame_counts(name: str) -> None:
    rgb = decode(WHOLE[f"{name}, animated"]).rgb
    assert np.abs(rgb - smooth().astype(float)).mean() < 8


def test_a_gif_of_two_greys_and_its_transparent_index() -> None:
    grey = PIL.Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    grey.putpalette([40, 40, 40, 90, 90, 90])
    seen = decode(saved(grey, "GIF", transparency=1)).rgb[..., 0]
    np.testing.assert_array_equal(seen, [[40, 255], [255, 40]])
    np.testing.assert_array_equal(decode(saved(grey, "GIF")).rgb[..., 0], [[40, 90], [90, 40]])


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_becomes_white(bits: int) -> None:
    most = 2**bits - 1
    rows = [b"\x50\x00"] if bits < 8 else [b"\x00\x05"] if bits == 8 else [b"\x00\x05\x01\x05"]
    samples = {1: [0, 1, 0, 1], 2: [1, 1, 0, 0], 4: [5, 0, 0, 0], 8: [0, 5], 16: [5, 0x105]}[bits]
    key = samples[0 if bits == 1 else 1]
    expected = [255 if s == key else (s >> 8 if bits == 16 else s * 255 // most) for s in samples]
    seen = decode(png(bits, 0, rows, len(samples), chunk(b"tRNS", struct.pack(">H", key)))).rgb
    np.testing.assert_array_equal(seen[0], [[v, v, v] for v in expected])


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_colour_of_a_png_becomes_white(bits: int) -> None:
    pixels = [(1, 2, 3), (1, 2, 4), (3, 2, 1)]
    pack = ">3B" if bits == 8 else ">3H"
    scale = 1 if bits == 8 else 0x100
    row = b"".join(struct.pack(pack, *(scale * v for v in pixel)) for pixel in pixels)
    key = chunk(b"tRNS", struct.pack(">3H", *(scale * v for v in pixels[1])))
    np.testing.assert_array_equal(decode(png(bits, 2, [row], 3, key)).rgb[0], [(1, 2, 3), (255,) * 3, (3, 2, 1)])


def test_a_palette_with_partly_transparent_colours_is_laid_on_white() -> None:
    picture = PIL.Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    picture.putpalette([0, 0, 0, 100, 0, 0, 0, 0, 200])
    seen = decode(saved(picture, "PNG", transparency=bytes([0, 128, 255]))).rgb[0]
    assert np.abs(seen - np.array([(255, 255, 255), (177, 127, 127), (0, 0, 200)], float)).max() <= 1


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_keep_their_high_eight(colour: int, channels: int) -> None:
    values = [0x0000, 0x00FF, 0x0100, 0x7FFF, 0x8000, 0xFFFF]
    alpha = colour >= 4
    row = b"".join(struct.pack(f">{channels}H", *[v] * (channels - alpha), *[0xFFFF] * alpha) for v in values)
    np.testing.assert_array_equal(decode(png(16, colour, [row], len(values))).rgb[0, :, 0], [0, 0, 1, 127, 128, 255])


@pytest.mark.parametrize("order", ["little", "big"])
def test_sixteen_bit_tiff_of_either_byte_order(order: str) -> None:
    values = np.array([[0x00FF, 0x0100, 0x8000, 0xFFFF]], "<u2" if order == "little" else ">u2")
    picture = PIL.Image.frombytes("I;16" if order == "little" else "I;16B", (4, 1), values.tobytes())
    data = saved(picture, "TIFF")
    assert data.startswith(b"II" if order == "little" else b"MM")
    np.testing.assert_array_equal(decode(data).rgb[0, :, 2], [0, 1, 128, 255])


@pytest.mark.parametrize(("bits", "white_is_zero"), [(12, False), (16, False), (16, True)])
def test_deep_grey_tiff(bits: int, white_is_zero: bool) -> None:
    tags = {256: 2, 257: 1, 258: bits, 259: 1, 262: int(not white_is_zero), 273: -1, 277: 1, 278: 1, 279: 4}
    pixels = struct.pack("<2H", 0xFFFF, 0x1234) if bits == 16 else b"\xff\xf1\x23"
    seen = decode(tiff(tags, pixels)).rgb[0, :, 0]
    np.testing.assert_array_equal(seen, [0, 255 - 0x12] if white_is_zero else [255, 0x12])


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_without_a_range_are_unsupported(mode: str) -> None:
    assert "32-bit" in refused(saved(SMOOTH.convert("L").convert(mode), "TIFF"), UnsupportedFormat)


def test_premultiplied_grey_is_laid_on_white() -> None:
    tags = {256: 2, 257: 1, 259: 1, 262: 1, 273: -1, 277: 2, 278: 1, 279: 4, 338: 1, 258: 8 | 8 << 16}
    # Two values of 16 bits each fit into the entry of BitsPerSample.
    data = tiff(tags, bytes([50, 100, 0, 0])).replace(struct.pack("<HHI", 258, 4, 1), struct.pack("<HHI", 258, 3, 2))
    seen = decode(data).rgb[0, :, 0].astype(int)
    assert abs(seen[0] - (50 + 155)) <= 1 and seen[1] == 255


# Orientation

_UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP", "TIFF", "TIFF, compressed"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(name: str, orientation: int) -> None:
    name, _, compressed = name.partition(", ")
    options = {"quality": 95, "subsampling": 0} if name == "JPEG" else LOSSLESS[name]
    if compressed:
        options = {"compression": "tiff_lzw"}
    data = saved(SMOOTH, name, exif=exif_of(orientation), **options)
    expected = _UPRIGHT[orientation](smooth())
    header = read_header(data)
    assert header.orientation == orientation
    assert header.stored_size == (48, 32)
    assert header.size == (expected.shape[1], expected.shape[0])
    picture = decode(data)
    assert picture.size == header.size and picture.rgb.flags.c_contiguous
    assert np.abs(picture.rgb - expected.astype(float)).max() <= (12 if name == "JPEG" else 0)


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0nonsense that is no TIFF at all",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",  # orientation 9
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x01\0\x06\0\0",  # orientation in letters
    ],
)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP"])
def test_malformed_exif_means_upright(name: str, exif: bytes) -> None:
    picture = decode(saved(SMOOTH, name, exif=exif))
    assert picture.size == (48, 32)
    assert np.abs(picture.rgb - smooth().astype(float)).mean() < 8


@given(st.binary(max_size=60))
def test_no_exif_is_a_failure(body: bytes) -> None:
    data = WHOLE["JPEG"]
    assert decode(data[:2] + segment(0xE1, b"Exif\0\0MM\0*" + body) + data[2:]).rgb.shape[2] == 3


def test_the_first_exif_of_several_counts() -> None:
    data = WHOLE["JPEG"]
    exif = [segment(0xE1, b"Exif\0\0" + exif_of(n).tobytes().removeprefix(b"Exif\0\0")) for n in (6, 3)]
    assert read_header(data[:2] + b"".join(exif) + data[2:]).orientation == 6


def test_xmp_does_not_turn_a_tiff() -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    np.testing.assert_array_equal(decode(saved(SMOOTH, "TIFF", tiffinfo={700: xmp})).rgb, smooth())


def test_a_body_as_torchserve_hands_it_over_is_not_changed(astronaut: bytes, shared) -> None:
    for data in (astronaut, (shared / "images/odd/pillow_hopper_orientation_6.jpg").read_bytes(), encoded_gif()):
        body = bytearray(data)
        assert (decode(body).rgb == decode(data).rgb).all()
        assert (decode(memoryview(data)).rgb == decode(data).rgb).all()
        assert body == data


def encoded_gif() -> bytes:
    stream = BytesIO()
    PIL.Image.new("P", (7, 5), 1).save(stream, "GIF")
    return stream.getvalue()

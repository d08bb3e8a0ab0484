"""Pictures of every kind, whole, broken and hostile: decoded right, or refused with a 4xx and nothing else."""

from __future__ import annotations

import json
import random
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detserve.errors import BadPicture, PictureTooLarge, RequestError, UnsupportedFormat
from detserve.images import Image, decode, read_header

ROOT = Path(__file__).parents[1]
FORMATS = ("JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF")
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "WebP": {"lossless": True, "exact": True}, "BMP": {}, "TIFF": {}}


def _smooth(width: int = 48, height: int = 32) -> NDArray[np.uint8]:
    """Colours that run smoothly, so that JPEG keeps them, and lie differently in each of the eight orientations."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([255 * x / width, 255 * y / height, 120 * (x < width // 3) + 100 * (y < height // 3)], axis=2)
    return rgb.astype(np.uint8)


def _saved(picture: PIL.Image.Image, name: str, **options: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, name, **options)
    return buffer.getvalue()


SMOOTH = PIL.Image.fromarray(_smooth())
WHOLE = {
    "JPEG": _saved(SMOOTH, "JPEG", quality=90),
    "JPEG, progressive": _saved(SMOOTH, "JPEG", quality=90, progressive=True),
    "JPEG, CMYK": _saved(SMOOTH.convert("CMYK"), "JPEG", quality=90),
    **{name: _saved(SMOOTH, name, **options) for name, options in LOSSLESS.items()},
    "WebP, lossy": _saved(SMOOTH, "WebP"),
    "WebP, animated": _saved(SMOOTH, "WebP", save_all=True, append_images=[SMOOTH.rotate(180)]),
    "PNG, palette": _saved(SMOOTH.quantize(200), "PNG"),
    "PNG, animated": _saved(SMOOTH, "PNG", save_all=True, append_images=[SMOOTH.rotate(180)]),
    "BMP, 8 bits": _saved(SMOOTH.convert("L"), "BMP"),
    "GIF": _saved(SMOOTH, "GIF"),
    "GIF, animated": _saved(SMOOTH, "GIF", save_all=True, append_images=[SMOOTH.rotate(180)], disposal=2),
    **{
        f"TIFF, {name}": _saved(SMOOTH, "TIFF", compression=name)
        for name in ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits")
    },
    "TIFF, group4": _saved(SMOOTH.convert("1"), "TIFF", compression="group4"),
}


def _refused(data: bytes, kind: type[RequestError] = RequestError, **options: Any) -> str:
    """The message of the refusal: one line of plain words."""
    with pytest.raises(kind) as caught:
        decode(data, **options)
    message = str(caught.value)
    assert 400 <= caught.value.status < 500
    assert not re.search(r"\n|/|\bat 0x|[<>]|\bobject\b", message), message
    return message


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(bits: int, colour: int, rows: list[bytes], width: int, *extra: bytes, height: int = 0) -> bytes:
    """A PNG by hand, for the kinds that Pillow does not write."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height or len(rows), bits, colour, 0, 0, 0))
    pixels = _chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + pixels + _chunk(b"IEND", b"")


def _tiff(tags: dict[int, int], pixels: bytes) -> bytes:
    """A little-endian TIFF by hand of tags with one value each; the value -1 is where the pixels start."""
    start = 8 + 2 + 12 * len(tags) + 4
    entries = (struct.pack("<HHII", tag, 4, 1, start if v == -1 else v) for tag, v in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4) + pixels


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def _exif(orientation: int) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif


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
        return PIL.Image.fromarray(_smooth()[..., 0].astype(np.uint16) * 256 + 200)
    if mode in ("LA", "RGBA"):
        picture = SMOOTH.convert(mode)
        picture.putalpha(PIL.Image.fromarray(_smooth()[..., 1]))
        return picture
    if mode == "P":
        return SMOOTH.quantize(64)
    return SMOOTH.convert("L" if mode == "LA" else mode)


def _on_white(mode: str) -> NDArray[np.float64]:
    """What a picture of `_of_mode` shows, by plain arithmetic where it takes any."""
    picture = _of_mode(mode)
    if mode == "I;16":
        return np.repeat(_smooth()[..., :1], 3, axis=2).astype(float)
    rgb = np.array(picture.convert("RGB")).astype(float)
    if mode in ("LA", "RGBA"):
        alpha = _smooth()[..., 1:2] / 255
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
    data = _saved(_of_mode(mode), name, **LOSSLESS.get(name, {}))
    picture = decode(data)
    assert picture.rgb.dtype == np.uint8 and picture.rgb.flags.c_contiguous
    assert picture.size == (48, 32) and picture.rgb.shape == (32, 48, 3)
    # Blending rounds; YCbCr goes through two conversions.
    assert np.abs(picture.rgb - _on_white(mode)).max() <= (3 if mode == "YCbCr" else 1)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_mode_of_jpeg_keeps_its_colours(mode: str, progressive: bool) -> None:
    data = _saved(_of_mode(mode), "JPEG", quality=95, progressive=progressive)
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
    assert decode(_saved(grey, "TIFF")).rgb.min() > 250


@pytest.mark.parametrize("name", ["WebP", "PNG", "GIF"])
def test_the_first_frame_counts(name: str) -> None:
    rgb = decode(WHOLE[f"{name}, animated"]).rgb
    assert np.abs(rgb - _smooth().astype(float)).mean() < 8


def test_a_gif_of_two_greys_and_its_transparent_index() -> None:
    grey = PIL.Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    grey.putpalette([40, 40, 40, 90, 90, 90])
    seen = decode(_saved(grey, "GIF", transparency=1)).rgb[..., 0]
    np.testing.assert_array_equal(seen, [[40, 255], [255, 40]])
    np.testing.assert_array_equal(decode(_saved(grey, "GIF")).rgb[..., 0], [[40, 90], [90, 40]])


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_becomes_white(bits: int) -> None:
    most = 2**bits - 1
    rows = [b"\x50\x00"] if bits < 8 else [b"\x00\x05"] if bits == 8 else [b"\x00\x05\x01\x05"]
    samples = {1: [0, 1, 0, 1], 2: [1, 1, 0, 0], 4: [5, 0, 0, 0], 8: [0, 5], 16: [5, 0x105]}[bits]
    key = samples[0 if bits == 1 else 1]
    expected = [255 if s == key else (s >> 8 if bits == 16 else s * 255 // most) for s in samples]
    seen = decode(_png(bits, 0, rows, len(samples), _chunk(b"tRNS", struct.pack(">H", key)))).rgb
    np.testing.assert_array_equal(seen[0], [[v, v, v] for v in expected])


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_colour_of_a_png_becomes_white(bits: int) -> None:
    pixels = [(1, 2, 3), (1, 2, 4), (3, 2, 1)]
    pack = ">3B" if bits == 8 else ">3H"
    scale = 1 if bits == 8 else 0x100
    row = b"".join(struct.pack(pack, *(scale * v for v in pixel)) for pixel in pixels)
    key = _chunk(b"tRNS", struct.pack(">3H", *(scale * v for v in pixels[1])))
    np.testing.assert_array_equal(decode(_png(bits, 2, [row], 3, key)).rgb[0], [(1, 2, 3), (255,) * 3, (3, 2, 1)])


def test_a_palette_with_partly_transparent_colours_is_laid_on_white() -> None:
    picture = PIL.Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    picture.putpalette([0, 0, 0, 100, 0, 0, 0, 0, 200])
    seen = decode(_saved(picture, "PNG", transparency=bytes([0, 128, 255]))).rgb[0]
    assert np.abs(seen - np.array([(255, 255, 255), (177, 127, 127), (0, 0, 200)], float)).max() <= 1


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_keep_their_high_eight(colour: int, channels: int) -> None:
    values = [0x0000, 0x00FF, 0x0100, 0x7FFF, 0x8000, 0xFFFF]
    alpha = colour >= 4
    row = b"".join(struct.pack(f">{channels}H", *[v] * (channels - alpha), *[0xFFFF] * alpha) for v in values)
    np.testing.assert_array_equal(decode(_png(16, colour, [row], len(values))).rgb[0, :, 0], [0, 0, 1, 127, 128, 255])


@pytest.mark.parametrize("order", ["little", "big"])
def test_sixteen_bit_tiff_of_either_byte_order(order: str) -> None:
    values = np.array([[0x00FF, 0x0100, 0x8000, 0xFFFF]], "<u2" if order == "little" else ">u2")
    picture = PIL.Image.frombytes("I;16" if order == "little" else "I;16B", (4, 1), values.tobytes())
    data = _saved(picture, "TIFF")
    assert data.startswith(b"II" if order == "little" else b"MM")
    np.testing.assert_array_equal(decode(data).rgb[0, :, 2], [0, 1, 128, 255])


@pytest.mark.parametrize(("bits", "white_is_zero"), [(12, False), (16, False), (16, True)])
def test_deep_grey_tiff(bits: int, white_is_zero: bool) -> None:
    tags = {256: 2, 257: 1, 258: bits, 259: 1, 262: int(not white_is_zero), 273: -1, 277: 1, 278: 1, 279: 4}
    pixels = struct.pack("<2H", 0xFFFF, 0x1234) if bits == 16 else b"\xff\xf1\x23"
    seen = decode(_tiff(tags, pixels)).rgb[0, :, 0]
    np.testing.assert_array_equal(seen, [0, 255 - 0x12] if white_is_zero else [255, 0x12])


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_without_a_range_are_unsupported(mode: str) -> None:
    assert "32-bit" in _refused(_saved(SMOOTH.convert("L").convert(mode), "TIFF"), UnsupportedFormat)


def test_premultiplied_grey_is_laid_on_white() -> None:
    tags = {256: 2, 257: 1, 259: 1, 262: 1, 273: -1, 277: 2, 278: 1, 279: 4, 338: 1, 258: 8 | 8 << 16}
    # Two values of 16 bits each fit into the entry of BitsPerSample.
    data = _tiff(tags, bytes([50, 100, 0, 0])).replace(struct.pack("<HHI", 258, 4, 1), struct.pack("<HHI", 258, 3, 2))
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
    data = _saved(SMOOTH, name, exif=_exif(orientation), **options)
    expected = _UPRIGHT[orientation](_smooth())
    header = read_header(data)
    assert header.orientation == orientation
    assert header.stored == (48, 32)
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
    picture = decode(_saved(SMOOTH, name, exif=exif))
    assert picture.size == (48, 32)
    assert np.abs(picture.rgb - _smooth().astype(float)).mean() < 8


@given(st.binary(max_size=60))
def test_no_exif_is_a_failure(body: bytes) -> None:
    data = WHOLE["JPEG"]
    assert decode(data[:2] + _segment(0xE1, b"Exif\0\0MM\0*" + body) + data[2:]).rgb.shape[2] == 3


def test_the_first_exif_of_several_counts() -> None:
    data = WHOLE["JPEG"]
    exif = [_segment(0xE1, b"Exif\0\0" + _exif(n).tobytes().removeprefix(b"Exif\0\0")) for n in (6, 3)]
    assert read_header(data[:2] + b"".join(exif) + data[2:]).orientation == 6


def test_xmp_does_not_turn_a_tiff() -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    np.testing.assert_array_equal(decode(_saved(SMOOTH, "TIFF", tiffinfo={700: xmp})).rgb, _smooth())


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
    message = _refused(start + bytes(100), UnsupportedFormat)
    assert name in message and all(served in message for served in FORMATS)
    with pytest.raises(UnsupportedFormat):
        read_header(start)


@pytest.mark.parametrize("data", [b"hello", b"\0", b"<html><svgs>", b"\xff\xd8", b"....ftypisom", b"{}", b"GIF88a  "])
def test_what_is_no_picture_is_a_bad_one(data: bytes) -> None:
    assert "not a picture" in _refused(data, BadPicture)


def test_an_empty_body_is_named() -> None:
    assert "empty body" in _refused(b"", BadPicture)


def test_the_limit_counts_pixels_exactly() -> None:
    for name in FORMATS:
        assert decode(WHOLE[name], max_pixels=48 * 32).size == (48, 32)
        message = _refused(WHOLE[name], PictureTooLarge, max_pixels=48 * 32 - 1)
        assert "48x32" in message and "1535" in message


def _bombs() -> dict[str, bytes]:
    """Small bodies that declare large pictures, or pictures in large parts."""
    control = _chunk(b"acTL", struct.pack(">II", 2, 0))
    frame = _chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 40000, 40000, 0, 0, 1, 1, 1, 0))
    gif = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(range(6)) + b"!\xf9\4\x08\0\0\0\0,"
    tags = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 322: 20000, 323: 20000, 324: -1}
    zeros = zlib.compress(bytes(400_000_000), 1)
    size = WHOLE["JPEG"].index(b"\xff\xc0") + 5
    canvas = b"VP8X\x0a\0\0\0\2\0\0\0" + (16382).to_bytes(3, "little") * 2
    part = bytes(6) + (47).to_bytes(3, "little") + (31).to_bytes(3, "little") + bytes(4) + WHOLE["WebP"][12:]
    webp = b"WEBP" + canvas + b"ANIM\6\0\0\0" + bytes(6) + b"ANMF" + struct.pack("<I", len(part)) + part
    return {
        "jpeg": WHOLE["JPEG"][:size] + struct.pack(">HH", 65535, 65535) + WHOLE["JPEG"][size + 4 :],
        "png": _png(8, 2, [b"\0"], 2**31 - 1),
        "png, animated": _png(8, 0, [b"\0"], 40000, control, frame, height=40000),
        # The frame is larger than the screen, and to be cleared after it is shown.
        "gif": gif + struct.pack("<HHHHB", 0, 0, 40000, 40000, 0) + b"\x02\x02\x44\x01\0;",
        "webp": b"RIFF" + struct.pack("<I", len(webp)) + webp,
        "bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 2**31 - 1, 1000, 1, 24, 0, 0, 0, 0, 0, 0),
        "tiff, tiles": _tiff(tags | {325: len(zeros)}, zeros),
    }


def test_large_pictures_are_refused_at_no_cost(tmp_path: Path) -> None:
    """In a process of its own, whose peak of memory is nobody else's."""
    for name, data in _bombs().items():
        (tmp_path / name).write_bytes(data)
    script = (
        "import resource, sys, time\n"
        "from pathlib import Path\n"
        "from detserve.errors import RequestError\n"
        "from detserve.images import decode\n"
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
    assert decode(data[:2] + 100 * _segment(0xFE, b"") + data[2:]).size == (48, 32)
    _refused(data[:2] + 100_000 * _segment(0xFE, b"") + data[2:], BadPicture)


@pytest.mark.parametrize(("at", "value"), [(4, 12), (9, 2)])
def test_a_jpeg_of_other_samples_is_unsupported(at: int, value: int) -> None:
    data = bytearray(WHOLE["JPEG"])
    data[data.index(b"\xff\xc0") + at] = value
    assert f" {value} " in _refused(bytes(data), UnsupportedFormat)


def test_a_picture_without_pixels_is_a_bad_one() -> None:
    data = bytearray(WHOLE["JPEG"])
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 2] = b"\0\0"
    assert "no pixels" in _refused(bytes(data), BadPicture)
    with pytest.raises(BadPicture):
        read_header(bytes(data))


def test_a_second_header_does_not_pass_the_limit() -> None:
    data = WHOLE["JPEG, CMYK"]
    at, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    second = bytearray(data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4])])
    second[5:9] = struct.pack(">HH", 60000, 60000)
    assert "more than one header" in _refused(data[:scan] + bytes(second) + data[scan:], BadPicture)


def test_pixels_of_another_size_than_the_header_says_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cv2.imdecode", lambda *_: np.zeros((32, 47, 3), np.uint8))
    assert "do not fit" in _refused(WHOLE["JPEG"], BadPicture)


# What is broken or cut short


def test_a_jpeg_says_that_it_is_cut_short() -> None:
    assert "cut short" in _refused(WHOLE["JPEG"][:-2], BadPicture)
    assert read_header(WHOLE["JPEG"][:-2]).size == (48, 32)


def test_junk_and_fill_between_the_segments_of_a_jpeg_are_skipped() -> None:
    data = WHOLE["JPEG"]
    at = data.index(b"\xff\xdb")
    for junk in (b"\xff\xff\xff", b"junk", b"\xff\0junk\xff\0", b"\xff\x01", b"\xff\xd0"):
        np.testing.assert_array_equal(decode(data[:at] + junk + data[at:]).rgb, decode(data).rgb)
        assert "cut short" in _refused((data[:at] + junk + data[at:])[:-2])


def test_bytes_after_the_end_of_a_jpeg_do_not_matter() -> None:
    data = WHOLE["JPEG"]
    np.testing.assert_array_equal(decode(data + bytes(100)).rgb, decode(data).rgb)
    np.testing.assert_array_equal(decode(data + data[: len(data) // 2]).rgb, decode(data).rgb)


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture() -> None:
    data = WHOLE["JPEG"]
    with_thumbnail = data[:2] + _segment(0xE1, b"Exif\0\0II*\0\0\0\0\0" + data) + data[2:]
    np.testing.assert_array_equal(decode(with_thumbnail).rgb, decode(data).rgb)
    for cut in range(len(data), len(with_thumbnail)):
        assert "cut short" in _refused(with_thumbnail[:cut], BadPicture)


@pytest.mark.parametrize("name", [name for name in WHOLE if name.startswith("JPEG")])
def test_every_cut_of_a_jpeg_is_refused(name: str) -> None:
    for cut in range(len(WHOLE[name])):
        _refused(WHOLE[name][:cut], BadPicture)


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
    _refused(WHOLE[name][:12] + noise)


def test_a_picture_that_pillow_warns_of_is_read_in_silence() -> None:
    """Warnings are errors here."""
    frames = _chunk(b"acTL", struct.pack(">II", 0, 0))
    row = bytes([10, 20, 30])
    with pytest.warns(UserWarning, match="APNG"):
        PIL.Image.open(BytesIO(_png(8, 2, [row], 1, frames))).load()
    np.testing.assert_array_equal(decode(_png(8, 2, [row], 1, frames)).rgb, [[[10, 20, 30]]])


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

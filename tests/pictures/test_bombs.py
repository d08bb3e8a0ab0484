"""Files that would keep a decoder busy for minutes: refused; and their harmless likes: decoded."""

from __future__ import annotations

import struct
import time
import zlib

import numpy as np
import PIL.Image
import pytest

from detserve.errors import BadPicture, PictureTooLarge
from detserve.pictures import bombs
from detserve.pictures.decode import decode
from tests.pictures.encoded import SMOOTH, WHOLE, chunk, png, refused, saved, segment

GREY = saved(PIL.Image.new("L", (2000, 2000), 128), "JPEG", progressive=True)
RATHER_LONG = 2.0
"""Seconds of this process, for what took many times that."""


def scans(jpeg: bytes, count: int) -> bytes:
    """A progressive JPEG whose second scan is there so many times more."""
    start = jpeg.index(b"\xff\xda", jpeg.index(b"\xff\xda") + 2)
    end = min(at for at in (jpeg.find(b"\xff\xc4", start), jpeg.find(b"\xff\xda", start + 2)) if at > 0)
    return jpeg[:start] + jpeg[start:end] * count + jpeg[start:]


def tiled(width: int, height: int, tile: tuple[int, int], count: int) -> bytes:
    """A TIFF of deflated black tiles, whose entries all name the same bytes."""
    pixels = zlib.compress(bytes(tile[0] * tile[1]), 9)
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile[0], 323: tile[1]}
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    lists = start + len(pixels)
    entries += struct.pack("<HHII", 324, 4, count, lists) + struct.pack("<HHII", 325, 4, count, lists + 4 * count)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags) + 2) + entries + bytes(4)
    return head + pixels + struct.pack("<I", start) * count + struct.pack("<I", len(pixels)) * count


def test_a_jpeg_of_many_scans_is_refused_at_once() -> None:
    before = time.process_time()
    for jpeg in (scans(GREY, 200), scans(GREY, 100_000), scans(GREY, 200)[:-2] + b"\0" * 100 + b"\xff\xd9"):
        assert "more than 100 scans" in refused(jpeg, BadPicture)
    assert time.process_time() - before < RATHER_LONG


@pytest.mark.parametrize(
    "hiding", [segment(0xFE, b"\xff\xd9"), b"\xff\x01\x7f\xff", b"\xff\xff\xff\x01", b"\xff\xd3\x7f\xff"]
)
def test_scans_do_not_hide(hiding: bytes) -> None:
    """Behind an end that lies in a comment, or behind a marker of no length that seems to have one."""
    second = GREY.index(b"\xff\xda", GREY.index(b"\xff\xda") + 2)
    for jpeg in (
        GREY[:second] + hiding + scans(GREY, 200)[second:],
        scans(GREY[:second] + hiding + GREY[second:], 200),
    ):
        refused(jpeg, BadPicture)


def test_scans_of_a_sequential_jpeg_count_where_there_can_be_several() -> None:
    large = saved(PIL.Image.new("RGB", (4000, 4000)), "JPEG", subsampling=0)
    scan = large.index(b"\xff\xda")
    one_by_one = b"".join(segment(0xDA, bytes([1, each, 0x11 * (each > 1), 0, 63, 0])) for each in (1, 2, 3))
    assert "more than 100 scans" in refused(large[:scan] + one_by_one * 100_000 + b"\xff\xd9", BadPicture)
    # Where the first scan has all colours, the decoder stops at the second.
    before = time.process_time()
    assert decode(large[:-2] + large[scan:-2] * 200 + one_by_one * 100_000 + b"\xff\xd9").size == (4000, 4000)
    assert time.process_time() - before < RATHER_LONG


def test_scans_are_counted_to_the_end_of_the_picture_alone() -> None:
    """Phones append a film, in which anything may stand."""
    film = b"\xff\xda\0\x08" * 5000
    assert (decode(GREY + film + b"\xff\xd9").rgb == decode(GREY).rgb).all()
    assert decode(WHOLE["JPEG"] + film).size == (48, 32)
    count = GREY.count(b"\xff\xda")
    assert decode(scans(GREY, bombs.MAX_SCANS - count)).size == (2000, 2000)
    refused(scans(GREY, bombs.MAX_SCANS - count + 1), BadPicture)


def test_a_jpeg_of_endless_tables_is_refused() -> None:
    many = segment(0xFE, b"") * 100_000
    cut = GREY.index(b"\xff\xda") - 2
    start = GREY.index(b"\xff\xda", cut + 4)
    assert decode(GREY[:start] + segment(0xFE, b"") * 100 + GREY[start:]).size == (2000, 2000)
    refused(GREY[:start] + many + scans(GREY, 200)[start:], BadPicture)


def test_a_png_of_many_profiles_is_refused_at_once() -> None:
    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1_000_000), 9))
    before = time.process_time()
    assert "colour profiles" in refused(png(8, 2, [bytes(3)], 1, profile * 10_000), BadPicture)
    assert time.process_time() - before < RATHER_LONG
    assert decode(png(8, 2, [bytes(3)], 1, profile)).size == (1, 1)


def test_texts_of_a_png_are_bounded_by_pillow() -> None:
    """If this fails, Pillow has given up its bound, and zTXt has to be counted like iCCP."""
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000), 9))
    before = time.process_time()
    refused(png(8, 2, [bytes(3)], 1, text * 10_000), BadPicture)
    assert time.process_time() - before < RATHER_LONG


def test_tiles_that_reach_far_over_the_edge_are_refused_at_once() -> None:
    before = time.process_time()
    refused(tiled(1, 16 * 100, (1_000_000, 16), 100), PictureTooLarge)
    assert time.process_time() - before < RATHER_LONG
    assert decode(tiled(40, 40, (32, 32), 4)).size == (40, 40)
    assert decode(tiled(40, 40, (32, 32), 4), max_pixels=64 * 64).size == (40, 40)
    refused(tiled(40, 40, (32, 32), 4), PictureTooLarge, max_pixels=64 * 64 - 1)


def test_a_tiff_of_very_many_tiles_is_refused() -> None:
    assert "strips or tiles" in refused(tiled(16, 16 * 100_001, (16, 16), 100_001), BadPicture)


def test_turned_tiffs_are_measured_as_they_are_stored() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    assert decode(saved(SMOOTH, "TIFF", exif=exif)).size == (32, 48)


@pytest.mark.slow
def test_the_slowest_files_within_the_limits_take_seconds() -> None:
    """100 million pixels in less than a megabyte, of the formats that are slowest."""
    side = 10_000
    flat = PIL.Image.fromarray(np.full((side, side), 128, np.uint8))
    rows = (b"\4" + bytes(side * 8)) * side
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0))
    sixteen = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows, 6)) + chunk(b"IEND", b"")
    jpeg = saved(flat, "JPEG", progressive=True)
    worst = {
        "JPEG of 100 scans": scans(jpeg, bombs.MAX_SCANS - jpeg.count(b"\xff\xda")),
        "PNG of 16 bits and alpha": sixteen,
        "GIF": saved(flat, "GIF"),
        "WebP without loss": saved(flat.convert("RGB"), "WebP", lossless=True, quality=0, method=0),
        "TIFF": saved(flat.convert("RGB"), "TIFF", compression="tiff_adobe_deflate"),
    }
    for name, data in worst.items():
        before = time.process_time()
        assert decode(data).size == (side, side)
        taken = time.process_time() - before
        print(f"{name}: {len(data) / 1e6:.2f} MB, {taken:.1f} s")
        assert taken < 30, name

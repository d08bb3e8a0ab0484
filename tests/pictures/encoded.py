"""Pictures as the tests of decoding need them: of every format and mode, and written by hand where Pillow cannot."""

from __future__ import annotations

import re
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from detserve.errors import RequestError
from detserve.pictures.decode import decode

ROOT = Path(__file__).parents[2]
FORMATS = ("JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF")
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "WebP": {"lossless": True, "exact": True}, "BMP": {}, "TIFF": {}}


def smooth(width: int = 48, height: int = 32) -> NDArray[np.uint8]:
    """Colours that run smoothly, so that JPEG keeps them, and lie differently in each of the eight orientations."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([255 * x / width, 255 * y / height, 120 * (x < width // 3) + 100 * (y < height // 3)], axis=2)
    return rgb.astype(np.uint8)


def saved(picture: PIL.Image.Image, name: str, **options: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, name, **options)
    return buffer.getvalue()


SMOOTH = PIL.Image.fromarray(smooth())
WHOLE = {
    "JPEG": saved(SMOOTH, "JPEG", quality=90),
    "JPEG, progressive": saved(SMOOTH, "JPEG", quality=90, progressive=True),
    "JPEG, CMYK": saved(SMOOTH.convert("CMYK"), "JPEG", quality=90),
    **{name: saved(SMOOTH, name, **options) for name, options in LOSSLESS.items()},
    "WebP, lossy": saved(SMOOTH, "WebP"),
    "WebP, animated": saved(SMOOTH, "WebP", save_all=True, append_images=[SMOOTH.rotate(180)]),
    "PNG, palette": saved(SMOOTH.quantize(200), "PNG"),
    "PNG, animated": saved(SMOOTH, "PNG", save_all=True, append_images=[SMOOTH.rotate(180)]),
    "BMP, 8 bits": saved(SMOOTH.convert("L"), "BMP"),
    "GIF": saved(SMOOTH, "GIF"),
    "GIF, animated": saved(SMOOTH, "GIF", save_all=True, append_images=[SMOOTH.rotate(180)], disposal=2),
    **{
        f"TIFF, {name}": saved(SMOOTH, "TIFF", compression=name)
        for name in ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits")
    },
    "TIFF, group4": saved(SMOOTH.convert("1"), "TIFF", compression="group4"),
}


def refused(data: bytes, kind: type[RequestError] = RequestError, **options: Any) -> str:
    """The message of the refusal: one line of plain words."""
    with pytest.raises(kind) as caught:
        decode(data, **options)
    message = str(caught.value)
    assert 400 <= caught.value.status < 500
    assert not re.search(r"\n|/|\bat 0x|[<>]|\bobject\b", message), message
    return message


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(bits: int, colour: int, rows: list[bytes], width: int, *extra: bytes, height: int = 0) -> bytes:
    """A PNG by hand, for the kinds that Pillow does not write."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height or len(rows), bits, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + pixels + chunk(b"IEND", b"")


def tiff(tags: dict[int, int], pixels: bytes) -> bytes:
    """A little-endian TIFF by hand of tags with one value each; the value -1 is where the pixels start."""
    start = 8 + 2 + 12 * len(tags) + 4
    entries = (struct.pack("<HHII", tag, 4, 1, start if v == -1 else v) for tag, v in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4) + pixels


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def exif_of(orientation: int) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif

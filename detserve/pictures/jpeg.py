"""JPEG: its segments up to the first scan, and its pixels, at a fraction of the size where that is enough."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import cv2
import numpy as np

from detserve.core.detections import Pixels
from detserve.errors import BadPicture, UnsupportedFormat
from detserve.pictures import bombs, pillow
from detserve.pictures.bombs import EOI, MAX_SEGMENTS, SCAN
from detserve.pictures.header import Header, header_of, orientation_of, swapped

# The next marker as libjpeg finds it: bytes that fill or stuff are none, and junk between the segments is skipped.
_MARKER = re.compile(rb"\xff([^\x00\xff])")
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Bits of cv2's flags that stand for a half, a quarter and an eighth, whatever the kind of pixel.
_REDUCED = {1: 0, 2: 16, 4: 32, 8: 64}
# What libjpeg says when it fills pixels with grey, or with what it takes for them. Its other warnings are of harmless
# bytes between segments, and of headers that some cameras write.
_LOST = ("premature end", "Premature end", "bad Huffman code", "bad arithmetic code", "instead of RST")
OVERSAMPLING = 1.5
"""A reduced JPEG keeps at least this many times the sides that it will be scaled to."""
_APP1 = 0xE1


@dataclass(frozen=True)
class Jpeg:
    """What comes before the first scan of a JPEG.

    bits: per sample; channels: how many; scan: the index behind that scan's marker; single_scan: whether that scan
    holds the whole picture, so that libjpeg reads no other.
    """

    header: Header
    bits: int
    channels: int
    scan: int
    single_scan: bool


def walk(data: bytes | bytearray) -> Jpeg:
    """What comes before the first scan. Raises BadPicture where there is no scan.

    This is our own code because it must find the same scan and the same size as libjpeg.
    """
    at, exif, frame, sequential = 2, b"", None, False
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        if not found or found[1][0] == EOI:
            break
        marker, at = found[1][0], found.end()
        if marker in _WITHOUT_LENGTH:
            continue
        if marker == SCAN and frame:
            bits, height, width, channels = frame
            orientation = orientation_of(exif)
            header = header_of("JPEG", swapped((width, height), orientation), orientation)
            return Jpeg(header, bits, channels, at, sequential and data[at + 2] == channels)
        if marker in _FRAMES and not frame:
            sequential = marker in _SEQUENTIAL
            frame = struct.unpack_from(">BHHB", data, at + 2)
        (length,) = struct.unpack_from(">H", data, at)
        if marker == _APP1 and not exif and data.startswith(b"Exif\0", at + 2):
            exif = bytes(data[at + 2 : at + length])
        at += length
    raise BadPicture("the JPEG picture is broken or cut short: it has no pixels")


def reduction_for(size: tuple[int, int], target: tuple[int, int]) -> int:
    """1, 2, 4 or 8: how much smaller a JPEG of that (width, height) can be decoded before it is scaled to `target`."""
    ratio = min(side / wanted for side, wanted in zip(size, target, strict=True)) / OVERSAMPLING
    return next(reduction for reduction in (8, 4, 2, 1) if reduction <= ratio or reduction == 1)


def check(data: bytes | bytearray, jpeg: Jpeg) -> None:
    """What has to hold before any decoder is given the picture.

    Raises BadPicture for what is cut short or a bomb, UnsupportedFormat for other than 8-bit grey, RGB or CMYK.
    """
    # libjpeg fills what is missing with grey, so there must be an end (EOI). In a scan 0xFF is always stuffed, so an
    # EOI is never part of one. A search from behind is the fastest.
    if data.rfind(b"\xff\xd9", jpeg.scan) < 0:
        raise BadPicture("the JPEG picture is cut short: its end is missing")
    if not jpeg.single_scan:
        bombs.check_scans(data, jpeg.scan)
    if jpeg.bits != 8 or jpeg.channels not in (1, 3, 4):
        raise UnsupportedFormat(f"JPEG of {jpeg.channels} channels of {jpeg.bits} bits is not served: send 8-bit RGB")


def read(data: bytes | bytearray, jpeg: Jpeg, reduction: int) -> Pixels:
    """The pixels as they lie in the file, reduced: uint8 [h, w, 3] RGB.

    Raises what `check` does, and BadPicture for what is broken.
    """
    check(data, jpeg)
    if jpeg.channels == 4:
        picture = pillow.open_with_pillow(data, "JPEG")
        if picture.size != jpeg.header.stored_size:
            raise BadPicture("the JPEG picture has more than one header")
        return pillow.read(picture, bits=8)
    rgb = _by_simplejpeg(data, jpeg, reduction)
    return _by_opencv(data, reduction) if rgb is None else rgb


def _by_simplejpeg(data: bytes | bytearray, jpeg: Jpeg, reduction: int) -> Pixels | None:
    """The pixels as libjpeg-turbo's own interface gives them: faster than OpenCV, and it tells of damage.

    None where the package is not installed, and for what that interface does not take, odd subsampling for instance.
    Raises BadPicture for damage by which pixels are lost.
    """
    try:
        import simplejpeg
    except ImportError:
        return None
    width, height = (-(-side // reduction) for side in jpeg.header.stored_size)
    try:
        rgb: Pixels = simplejpeg.decode_jpeg(data, min_width=width, min_height=height)
    except ValueError as error:
        if any(sign in str(error) for sign in _LOST):
            raise BadPicture("the JPEG picture is broken: a part of it is missing") from None
        return None
    return rgb


def _by_opencv(data: bytes | bytearray, reduction: int) -> Pixels:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED[reduction]
    rgb = cv2.imdecode(np.frombuffer(data, np.uint8), flags)  # a quarter faster than Pillow
    if rgb is None:
        raise BadPicture("the JPEG picture is broken")
    return np.asarray(rgb, np.uint8)

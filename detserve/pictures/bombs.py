"""Bombs: files within the limits of bytes and pixels that nevertheless keep a decoder busy for minutes or hours.

A decoder's work is the pixels times how often it goes over them. The limit of pixels bounds the one, what is checked
here the other. At 100 million pixels, the default limit, no file takes more than seconds then.
"""

from __future__ import annotations

import re

from PIL import TiffImagePlugin
from PIL.ImageFile import ImageFile

from detserve.errors import BadPicture

MOST_SCANS = 100
"""A progressive JPEG has some ten scans. Each costs a pass over the whole picture, be it empty: 150 bytes."""
MOST_PROFILES = 8
"""A PNG has one colour profile at most. Pillow unpacks a megabyte for each, of 900 bytes."""
MOST_PARTS = 100_000
"""Strips or tiles of a TIFF. Their entries in it may all name the same bytes."""

_MOST_SEGMENTS = 4096
_EOI, _SCAN = 0xD9, 0xDA
# The next marker with a length behind it, or the end: 0xFF is stuffed in a scan, and restarts belong to it.
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])")


def check_scans(jpeg: bytes | bytearray, start: int) -> None:
    """Raises BadPicture for a JPEG of too many scans. start: just behind the marker of the first one."""
    # Finds all of them and perhaps more, behind the picture's end, but at no cost; what follows is for the few.
    if jpeg.count(b"\xff\xda", start) < MOST_SCANS:
        return
    marker, at, scans = _SCAN, start, 0
    for _ in range(_MOST_SEGMENTS):
        scans += marker == _SCAN
        found = _MARKER.search(jpeg, at + max(2, int.from_bytes(jpeg[at : at + 2])))
        if scans > MOST_SCANS or not found:
            break
        marker, at = found[1][0], found.end()
        if marker == _EOI:
            return
    raise BadPicture(f"the JPEG picture has more than {MOST_SCANS} scans, or no end: save it anew")


def check_profiles(png: bytes | bytearray) -> None:
    """Raises BadPicture for a PNG of too many colour profiles."""
    if png.count(b"iCCP") > MOST_PROFILES:
        raise BadPicture(f"the PNG picture has more than {MOST_PROFILES} colour profiles: save it anew")


def decoded_size(picture: ImageFile) -> tuple[int, int]:
    """(width, height) of all that is decoded for a picture: that of a TIFF in tiles reaches over its edges.

    Raises BadPicture for a TIFF of too many strips or tiles.
    """
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return picture.size
    tags = picture.tag_v2  # of the picture as it is stored; Pillow turns its size
    if max(len(tags.get(tag, ())) for tag in (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.TILEOFFSETS)) > MOST_PARTS:
        raise BadPicture(f"the TIFF picture is in more than {MOST_PARTS} strips or tiles: save it anew")
    width, height = tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH]
    across, down = tags.get(TiffImagePlugin.TILEWIDTH, 1), tags.get(TiffImagePlugin.TILELENGTH, 1)
    return -(-width // across) * across, -(-height // down) * down

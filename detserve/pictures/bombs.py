"""Bombs: files within the limits of bytes and pixels that nevertheless keep a decoder busy for minutes or hours.

A decoder's work is the number of pixels times the number of passes over them. The limit of pixels bounds the first
factor, the checks here bound the second. With both, no file of up to 100 million pixels, the default limit, takes more
than seconds.
"""

from __future__ import annotations

import re

from PIL import TiffImagePlugin
from PIL.ImageFile import ImageFile

from detserve.errors import BadPicture

MAX_SCANS = 100
"""A progressive JPEG has about ten scans. Each costs a pass over the whole picture, even an empty one of 150 bytes."""
MAX_PROFILES = 8
"""A valid PNG has one colour profile at most. Pillow unpacks every one that it meets: 900 bytes become a megabyte."""
MAX_TILES = 100_000
"""Strips or tiles of a TIFF. All of them may point to the same bytes, so that a small file can have many."""

MAX_SEGMENTS = 4096
"""Far more than the largest colour profile and EXIF take. It bounds the work on a JPEG of nothing but segments."""
EOI, SCAN = 0xD9, 0xDA
"""The markers of a JPEG's end, and of a scan."""
# The next marker that a length follows, or the end of the picture. Stuffed bytes and restart markers are part of a
# scan.
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])")


def check_scans(jpeg: bytes | bytearray, start: int) -> None:
    """Raise BadPicture for a JPEG of more than MAX_SCANS scans. start: the index behind the first scan's marker."""
    # Counts every scan, and perhaps more behind the picture's end, at almost no cost. Few files go on from here.
    if jpeg.count(b"\xff\xda", start) < MAX_SCANS:
        return
    marker, at, scans = SCAN, start, 0
    for _ in range(MAX_SEGMENTS):
        scans += marker == SCAN
        found = _MARKER.search(jpeg, at + max(2, int.from_bytes(jpeg[at : at + 2])))
        if scans > MAX_SCANS or not found:
            break
        marker, at = found[1][0], found.end()
        if marker == EOI:
            return
    raise BadPicture(f"the JPEG picture has more than {MAX_SCANS} scans, or no end: save it anew")


def check_profiles(png: bytes | bytearray) -> None:
    """Raise BadPicture for a PNG of more than MAX_PROFILES colour profiles."""
    if png.count(b"iCCP") > MAX_PROFILES:
        raise BadPicture(f"the PNG picture has more than {MAX_PROFILES} colour profiles: save it anew")


def decoded_size(picture: ImageFile) -> tuple[int, int]:
    """(width, height) in pixels of the area that is decoded: the tiles of a TIFF reach beyond the picture's edges.

    Raises BadPicture for a TIFF of more than MAX_TILES strips or tiles.
    """
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return picture.size
    tags = picture.tag_v2  # the sides as stored; `picture.size` is that of the upright picture
    if max(len(tags.get(tag, ())) for tag in (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.TILEOFFSETS)) > MAX_TILES:
        raise BadPicture(f"the TIFF picture is in more than {MAX_TILES} strips or tiles: save it anew")
    width, height = tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH]
    across, down = tags.get(TiffImagePlugin.TILEWIDTH, 1), tags.get(TiffImagePlugin.TILELENGTH, 1)
    return -(-width // across) * across, -(-height // down) * down

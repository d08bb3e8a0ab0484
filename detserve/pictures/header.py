"""Header: what a file says of its picture ahead of the pixels."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from detserve.errors import BadPicture

MAX_PIXELS = 100_000_000
"""Pictures that declare more are refused, unless an archive says otherwise."""

ORIENTATION = 0x0112
"""The number of the tag for the orientation in EXIF and TIFF."""


@dataclass(frozen=True)
class Header:
    """What a file says of its picture ahead of the pixels.

    format: "JPEG", "PNG", "WebP", "BMP", "TIFF" or "GIF"; size: (width, height) in pixels of the upright picture, as a
    person sees it; orientation: EXIF's 1 to 8, how the stored pixels must be turned to be upright; 1 is not at all.
    """

    format: str
    size: tuple[int, int]
    orientation: int

    @property
    def stored_size(self) -> tuple[int, int]:
        """(width, height) of the pixels as they lie in the file, not turned."""
        return swapped(self.size, self.orientation)


def header_of(name: str, size: tuple[int, int], orientation: int) -> Header:
    """The header of a picture whose upright (width, height) this is. Raises BadPicture where it has no pixels."""
    if min(size) < 1:
        raise BadPicture(f"the {name} picture has no pixels: its header says {size[0]}x{size[1]}")
    return Header(name, size, orientation)


def swapped(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(width, height) as stored → upright, or the other way round: the orientations 5 to 8 exchange the two."""
    return (size[1], size[0]) if orientation >= 5 else size


def orientation_of(exif: bytes) -> int:
    """EXIF's orientation of the main picture, 1 where there is none or the EXIF is malformed."""
    tiff = exif[6:] if exif.startswith(b"Exif\0") else exif
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "<")
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, at)
            if tag == ORIENTATION:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1

"""Metadata: what a picture says of itself, without what may show a face that its pixels no longer show."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass

import PIL.Image
from PIL.ExifTags import IFD, Base

_TOLD = (Base.Make, Base.Model, Base.Software, Base.DateTime, Base.Artist, Base.Copyright, Base.ImageDescription)
"""What stays of a picture's own tags; the others say how its pixels lie, or hold previews."""
_NOT_TOLD = (Base.MakerNote, Base.ExifImageWidth, Base.ExifImageHeight)
"""What does not stay of how it was taken: some makers' previews, and the size, whose sides may be swapped."""


@dataclass(frozen=True)
class Metadata:
    """exif, icc: as Pillow writes them; empty for none."""

    exif: bytes = b""
    icc: bytes = b""


NOTHING = Metadata()


def read(data: bytes, keep: bool) -> Metadata:
    """What stays of the metadata of a picture whose pixels were turned upright and changed.

    Previews, which some cameras and programs keep in it, never stay; with `keep` date, place and camera do, without it
    only the colour profile.
    """
    with PIL.Image.open(io.BytesIO(data)) as picture:
        # A profile for four inks, or for grey, does not fit the RGB that is written.
        icc = picture.info.get("icc_profile") or b"" if picture.mode in ("RGB", "RGBA", "P") else b""
        if not keep:
            return Metadata(icc=icc)
        kept = PIL.Image.Exif()
        with suppress(Exception):  # whatever Pillow says of broken metadata, differently from version to version
            found = picture.getexif()
            for tag in _TOLD:
                if tag in found:
                    kept[tag] = found[tag]
            for which in (IFD.Exif, IFD.GPSInfo):
                told = {tag: value for tag, value in found.get_ifd(which).items() if tag not in _NOT_TOLD}
                if told:
                    kept.get_ifd(which).update(told)
            return Metadata(kept.tobytes() if found else b"", icc)
        return Metadata(icc=icc)

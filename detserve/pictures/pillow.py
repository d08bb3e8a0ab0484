"""All formats but JPEG, and JPEG in CMYK, read by Pillow."""

from __future__ import annotations

import warnings
from io import BytesIO

import cv2
import numpy as np
import PIL.Image

# Asked for a format that is not loaded, Pillow imports all of its forty plugins. By default these two are not loaded.
from PIL import TiffImagePlugin, WebPImagePlugin  # noqa: F401
from PIL.ImageFile import ImageFile

from detserve.core.detections import Pixels
from detserve.errors import UnsupportedFormat
from detserve.pictures import bombs
from detserve.pictures.header import ORIENTATION, Header, header_of, orientation_of, swapped

# Pillow's own limit holds for the whole process and warns before it refuses. `decode` compares the size in the header
# with a limit of its own before it lets Pillow read a pixel.
PIL.Image.MAX_IMAGE_PIXELS = None

STRIP = 1 << 18
"""Pixels that are converted at a time."""


def open_picture(data: bytes | bytearray, name: str) -> tuple[ImageFile, Header]:
    """The picture with only its header read, and that header. A PNG's EXIF counts if it comes before the pixels."""
    if name == "PNG":
        bombs.check_profiles(data)
    picture = open_with_pillow(_first_frame(data) if name == "GIF" else data, name)
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        # Pillow would also turn a TIFF by its XMP, but the size that it gives leaves the XMP out.
        picture.info.pop("xmp", None)
        tag = picture.tag_v2.get(ORIENTATION)
        return picture, header_of(name, picture.size, tag if isinstance(tag, int) and 1 <= tag <= 8 else 1)
    orientation = orientation_of(picture.info.get("exif", b""))
    return picture, header_of(name, swapped(picture.size, orientation), orientation)


def open_with_pillow(data: bytes | bytearray, name: str) -> ImageFile:
    """Pillow's picture of those bytes, its header read."""
    # Pillow warns of odd files that it reads nevertheless. The filter is set at each call and not taken back, because
    # `warnings.catch_warnings` confuses the filters of threads that overlap.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    return PIL.Image.open(BytesIO(data), formats=[name])


def _first_frame(gif: bytes | bytearray) -> bytes | bytearray:
    """The GIF with only its first frame and that frame's transparent colour.

    While it reads the header, Pillow fills a canvas for the later frames, of a size that nobody has checked.
    """
    start = at = 13 + (3 << (gif[10] & 7) + 1 if gif[10] & 0x80 else 0)
    control = b""
    while gif[at] not in b",;":
        if gif[at] == ord("!"):
            if gif[at + 1] == 0xF9 and gif[at + 3] & 1:
                control = b"!\xf9\4\1\0\0" + gif[at + 6 : at + 7] + b"\0"
            at += 2
            while gif[at]:
                at += 1 + gif[at]
        at += 1
    return gif[:start] + control + gif[at:]


def bits_of(data: bytes | bytearray, picture: ImageFile) -> int:
    """Bits of a stored sample of a TIFF or PNG. For other formats 8: Pillow needs no help with theirs."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return int(picture.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0])
    return data[24] if picture.format == "PNG" else 8


def read(picture: PIL.Image.Image, bits: int) -> Pixels:
    """Decode a picture in any of Pillow's modes → uint8 [h, w, 3] RGB; what is transparent shows white.

    bits: of a stored sample, see `bits_of`. Raises UnsupportedFormat for float, signed and 32-bit samples.
    """
    if picture.mode in ("I", "F"):
        raise UnsupportedFormat("float, signed and 32-bit samples are not served: send 8 or 16 bits")
    # The colour that means transparent; Pillow does not apply it to 2, 4 and 16 bits. A palette has an index instead.
    key = None if picture.mode == "P" else picture.info.pop("transparency", None)
    if picture.mode.startswith("I;16"):
        return _read_grey16(picture, bits, key)
    picture.load()
    width, height = picture.size
    rgb: Pixels = np.empty((height, width, 3), np.uint8)
    # By strips: Pillow copies whatever it converts, four bytes a pixel each time.
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        rgb[top : top + rows] = np.asarray(_in_rgb(picture.crop((0, top, width, min(top + rows, height)))))
    if key is not None:
        stored = np.broadcast_to(key, 3)
        # Pillow keeps the high 8 of 16 bits and stretches 2 and 4 bits to the whole range, but not those of the key.
        shown = tuple((stored >> 8 if bits == 16 else stored * 255 // (2**bits - 1)).tolist())
        rgb |= np.asarray(cv2.inRange(rgb, shown, shown), np.uint8)[..., np.newaxis]  # 255 where it is that colour
    return rgb


def _in_rgb(picture: PIL.Image.Image) -> PIL.Image.Image:
    """In RGB, what is transparent white."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    rgba = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
    white = PIL.Image.new("RGB", picture.size, "white")
    white.paste(rgba, mask=rgba)
    return white


def _read_grey16(picture: PIL.Image.Image, bits: int, key: int | None) -> Pixels:
    samples = np.array(picture)
    grey = (samples >> (bits - 8)).astype(np.uint8)
    if (
        isinstance(picture, TiffImagePlugin.TiffImageFile)
        and picture.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    ):
        grey = ~grey  # zero is white; Pillow inverts samples of up to 8 bits only
    if key is not None:
        grey[samples == key] = 255
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)

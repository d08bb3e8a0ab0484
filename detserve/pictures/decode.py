"""Pictures: bytes → upright RGB. Format and size come from the header; both are checked before any pixel is decoded."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
import PIL.Image

# Pillow imports all of its forty plugins when it is asked for one that is not loaded; these two are not by default.
from PIL import TiffImagePlugin, WebPImagePlugin  # noqa: F401
from PIL.ImageFile import ImageFile

from detserve.pictures import bombs
from detserve.core.detections import Pixels
from detserve.errors import BadPicture, PictureTooLarge, RequestError, UnsupportedFormat

# Pillow's own limit is one for the whole process and warns before it refuses. `decode` compares the size in the header
# with its own limit before it lets Pillow read a pixel.
PIL.Image.MAX_IMAGE_PIXELS = None

_SERVED = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "BMP": re.compile(rb"BM"),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "GIF": re.compile(rb"GIF8[79]a"),
}
_NOT_SERVED = {
    "HEIC": re.compile(rb"....ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL),
    "AVIF": re.compile(rb"....ftypavi[fs]", re.DOTALL),
    "CR3": re.compile(rb"....ftypcrx ", re.DOTALL),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    "JPEG XL": re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"),
    "JPEG XR": re.compile(rb"II\xbc"),
    "Photoshop": re.compile(rb"8BPS"),
    "GIMP": re.compile(rb"gimp xcf"),
    "ICO": re.compile(rb"\0\0[\1\2]\0"),
    "PNM": re.compile(rb"P[1-7]\s"),
    "SVG": re.compile(rb"(?:\xef\xbb\xbf)?\s{0,99}<(?:svg|(?:\?xml|!--|!DOCTYPE).{0,2000}?<svg)\b", re.DOTALL),
    "PDF": re.compile(rb"%PDF-"),
    "PostScript": re.compile(rb"%!PS"),
    "OpenEXR": re.compile(rb"\x76\x2f\x31\x01"),
    "Radiance HDR": re.compile(rb"#\?RADIANCE"),
    "DDS": re.compile(rb"DDS "),
    "QOI": re.compile(rb"qoif"),
}
_SEND = f"send {', '.join(list(_SERVED)[:-1])} or {list(_SERVED)[-1]}"

_ORIENTATION = 0x0112  # the tag's number in EXIF and TIFF
_TURNS: dict[int, Callable[[Pixels], object]] = {
    2: lambda rgb: cv2.flip(rgb, 1),
    3: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_180),
    4: lambda rgb: cv2.flip(rgb, 0),
    5: cv2.transpose,
    6: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_90_CLOCKWISE),
    7: lambda rgb: cv2.flip(cv2.transpose(rgb), -1),
    8: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


@dataclass(frozen=True)
class Header:
    """What a picture says of itself before its pixels.

    format: "JPEG", "PNG", "WebP", "BMP", "TIFF" or "GIF"; size: (width, height) in pixels of the picture as a person
    sees it; orientation: EXIF's 1–8, how the stored picture has to be turned for that, 1 where it is upright.
    """

    format: str
    size: tuple[int, int]
    orientation: int

    @property
    def stored(self) -> tuple[int, int]:
        """(width, height) of the pixels as they lie in the file, not turned."""
        return _swapped(self.size, self.orientation)


@dataclass(frozen=True)
class Image:
    """A decoded picture.

    rgb: uint8 [h, w, 3], upright, C-contiguous; size: (width, height) of the upright picture in pixels.
    """

    rgb: Pixels
    size: tuple[int, int]


def read_header(data: bytes | bytearray | memoryview) -> Header:
    """Format, size and orientation of a picture, with no pixel decoded and no limit applied.

    Raises BadPicture for what is no picture or has a broken header, UnsupportedFormat for formats that are not served.
    """
    data = _plain(data)
    name = _sniff(data)
    with _refusals(name):
        return _walk_jpeg(data).header if name == "JPEG" else _open(data, name)[1]


def decode(
    data: bytes | bytearray | memoryview,
    max_pixels: int = 100_000_000,
    enough: Callable[[tuple[int, int]], tuple[int, int]] | None = None,
) -> Image:
    """The picture, the first of several, upright: grey as equal channels, 16 bits as their high 8, alpha on white.

    enough: upright (width, height) of a picture → the (width, height) that it will be scaled to. A JPEG that is much
    larger is decoded at a half, a quarter or an eighth; `Image.size` stays that of the whole.

    Raises BadPicture for what is no picture, broken or cut short, PictureTooLarge for more than `max_pixels` pixels,
    UnsupportedFormat for formats and kinds of pixel that are not served, and nothing else.
    """
    data = _plain(data)
    name = _sniff(data)
    with _refusals(name):
        if name == "JPEG":
            jpeg = _walk_jpeg(data)
            header = jpeg.header
            _check_size(header.size, max_pixels)
            reduction = _reduction(header.size, enough(header.size)) if enough and jpeg.channels != 4 else 1
            rgb = _turn(_read_jpeg(data, jpeg, reduction), header.orientation)
        else:
            reduction = 1
            picture, header = _open(data, name)
            _check_size(header.size, max_pixels)
            _check_size(bombs.decoded_size(picture), max_pixels)
            # Pillow turns a TIFF, and only a TIFF, while it decodes.
            rgb = _turn(_read(picture, _bits(data, picture)), 1 if name == "TIFF" else header.orientation)
        if rgb.shape != (-(-header.size[1] // reduction), -(-header.size[0] // reduction), 3):
            raise BadPicture(f"the pixels of the {name} picture do not fit the size in its header")
    return Image(rgb, header.size)


def _plain(data: bytes | bytearray | memoryview) -> bytes | bytearray:
    """What can be searched as it is; TorchServe's bodies are bytearrays, and copying one of megabytes is felt."""
    return bytes(data) if isinstance(data, memoryview) else data


def _sniff(data: bytes | bytearray) -> str:
    for name, signature in _SERVED.items():
        if signature.match(data):
            return name
    for name, signature in _NOT_SERVED.items():
        if signature.match(data):
            raise UnsupportedFormat(f"{name} is not served: {_SEND}")
    raise BadPicture(f"the body is not a picture: {_SEND}" if data else f"empty body: {_SEND}")


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Every failure of a decoder as a RequestError; the decoders' own words may hold addresses, so they stay out."""
    try:
        yield
    except RequestError:
        raise
    except MemoryError as error:
        raise PictureTooLarge(f"the {name} picture needs more memory than there is: send it smaller") from error
    # On broken files Pillow raises OSError, SyntaxError, ValueError, struct.error, zlib.error, IndexError, KeyError,
    # TypeError, EOFError, OverflowError and others, differently from version to version.
    except Exception as error:
        raise BadPicture(f"the {name} picture cannot be read: it is broken or cut short") from error


def _header(name: str, size: tuple[int, int], orientation: int) -> Header:
    if min(size) < 1:
        raise BadPicture(f"the {name} picture has no pixels: its header says {size[0]}x{size[1]}")
    return Header(name, size, orientation)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise PictureTooLarge(f"{size[0]}x{size[1]} is more than {max_pixels} pixels: send the picture smaller")


def _swapped(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size[1], size[0]) if orientation >= 5 else size


def _turn(stored: Pixels, orientation: int) -> Pixels:
    turn = _TURNS.get(orientation)
    return np.asarray(turn(stored), np.uint8) if turn else stored


def _orientation(exif: bytes) -> int:
    """EXIF's orientation of the main picture, 1 where there is none or the EXIF is malformed."""
    tiff = exif[6:] if exif.startswith(b"Exif\0") else exif
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "<")
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, at)
            if tag == _ORIENTATION:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


# JPEG

# The first 0xFF that neither fills nor stuffs, as libjpeg looks for it: junk between the segments is skipped.
_MARKER = re.compile(rb"\xff([^\x00\xff])")
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Bits of cv2's flags that stand for a half, a quarter and an eighth, whatever the kind of pixel.
_REDUCED = {1: 0, 2: 16, 4: 32, 8: 64}
OVERSAMPLING = 2.0
"""A reduced JPEG keeps this many times the pixels a side that it will be scaled to. Average precision of centerface at
320 on 1,872 faces: whole 71.7, with 2.0 72.1, with 1.5 71.3, with 1.25 70.6."""
_APP1, _EOI, _SCAN = 0xE1, 0xD9, 0xDA
# Far more than the largest colour profile and EXIF take; a bound for files made of nothing but segments.
_MOST_SEGMENTS = 4096


@dataclass(frozen=True)
class _Jpeg:
    header: Header
    bits: int
    channels: int
    scan: int  # where the first scan starts
    whole: bool  # whether that is all of the picture: libjpeg takes no other then


def _walk_jpeg(data: bytes | bytearray) -> _Jpeg:
    """All that comes before the first scan. By itself, as it must find the scan and see the size that libjpeg sees."""
    at, exif, frame, sequential = 2, b"", None, False
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, at)
        if not found or found[1][0] == _EOI:
            break
        marker, at = found[1][0], found.end()
        if marker in _ALONE:
            continue
        if marker == _SCAN and frame:
            bits, height, width, channels = frame
            orientation = _orientation(exif)
            header = _header("JPEG", _swapped((width, height), orientation), orientation)
            return _Jpeg(header, bits, channels, at, sequential and data[at + 2] == channels)
        if marker in _FRAMES and not frame:
            sequential = marker in _SEQUENTIAL
            frame = struct.unpack_from(">BHHB", data, at + 2)
        (length,) = struct.unpack_from(">H", data, at)
        if marker == _APP1 and not exif and data.startswith(b"Exif\0", at + 2):
            exif = bytes(data[at + 2 : at + length])
        at += length
    raise BadPicture("the JPEG picture is broken or cut short: it has no pixels")


def _reduction(size: tuple[int, int], enough: tuple[int, int]) -> int:
    """By how much a JPEG can be reduced while it is decoded: 1, 2, 4 or 8."""
    ratio = min(side / wanted for side, wanted in zip(size, enough, strict=True)) / OVERSAMPLING
    return next(reduction for reduction in (8, 4, 2, 1) if reduction <= ratio or reduction == 1)


def _read_jpeg(data: bytes | bytearray, jpeg: _Jpeg, reduction: int) -> Pixels:
    # libjpeg fills what is missing with grey. In a scan 0xFF is always stuffed, so the first EOI in there is the end;
    # whether there is one shows fastest from behind.
    if data.rfind(b"\xff\xd9", jpeg.scan) < 0:
        raise BadPicture("the JPEG picture is cut short: its end is missing")
    if not jpeg.whole:
        bombs.check_scans(data, jpeg.scan)
    if jpeg.bits != 8 or jpeg.channels not in (1, 3, 4):
        raise UnsupportedFormat(f"JPEG of {jpeg.channels} channels of {jpeg.bits} bits is not served: send 8-bit RGB")
    if jpeg.channels == 4:
        picture = _open_with_pillow(data, "JPEG")
        if picture.size != jpeg.header.stored:
            raise BadPicture("the JPEG picture has more than one header")
        return _read(picture, bits=8)
    # A quarter faster than Pillow.
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED[reduction]
    rgb = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if rgb is None:
        raise BadPicture("the JPEG picture is broken")
    return np.asarray(rgb, np.uint8)


# All other formats, with Pillow


def _open(data: bytes | bytearray, name: str) -> tuple[ImageFile, Header]:
    """The picture with its header read and its pixels not. A PNG's EXIF counts where it stands before the pixels."""
    if name == "PNG":
        bombs.check_profiles(data)
    picture = _open_with_pillow(_first_frame(data) if name == "GIF" else data, name)
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        # Pillow would turn a TIFF by its XMP too, but tells its size without.
        picture.info.pop("xmp", None)
        tag = picture.tag_v2.get(_ORIENTATION)
        return picture, _header(name, picture.size, tag if isinstance(tag, int) and 1 <= tag <= 8 else 1)
    orientation = _orientation(picture.info.get("exif", b""))
    return picture, _header(name, _swapped(picture.size, orientation), orientation)


def _open_with_pillow(data: bytes | bytearray, name: str) -> ImageFile:
    # Pillow warns of odd files that it reads nevertheless. Set at each call and left so, as `warnings.catch_warnings`
    # confuses the filters of threads that overlap.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    return PIL.Image.open(BytesIO(data), formats=[name])


def _first_frame(gif: bytes | bytearray) -> bytes | bytearray:
    """A GIF of only the first frame and its transparent colour.

    While it reads the header Pillow fills a canvas for the frames to come, of a size that nobody has checked.
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


def _bits(data: bytes | bytearray, picture: ImageFile) -> int:
    """Bits of one stored sample, for the formats in which Pillow leaves something to do about them."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return int(picture.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0])
    return data[24] if picture.format == "PNG" else 8


def _read(picture: ImageFile, bits: int) -> Pixels:
    """Decode a picture of any mode of Pillow's → uint8 [h, w, 3], alpha laid on white."""
    if picture.mode in ("I", "F"):
        raise UnsupportedFormat("float, signed and 32-bit samples are not served: send 8 or 16 bits")
    # The colour that stands for transparent; Pillow loses it for 2, 4 and 16 bits. A palette has an index instead.
    key = None if picture.mode == "P" else picture.info.pop("transparency", None)
    if picture.mode.startswith("I;16"):
        return _read_grey16(picture, bits, key)
    if picture.has_transparency_data:
        rgba = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        white = PIL.Image.new("RGB", picture.size, "white")
        white.paste(rgba, mask=rgba)
        return np.array(white)
    rgb: Pixels = np.array(picture.convert("RGB"))
    if key is not None:
        stored = np.broadcast_to(key, 3)
        # Of 16 bits Pillow keeps the high 8, and 2 and 4 it stretches to the whole range; but not so the key.
        shown = tuple((stored >> 8 if bits == 16 else stored * 255 // (2**bits - 1)).tolist())
        rgb |= np.asarray(cv2.inRange(rgb, shown, shown), np.uint8)[..., np.newaxis]  # 255 where it is that colour
    return rgb


def _read_grey16(picture: ImageFile, bits: int, key: int | None) -> Pixels:
    samples = np.array(picture)
    grey = (samples >> (bits - 8)).astype(np.uint8)
    if (
        isinstance(picture, TiffImagePlugin.TiffImageFile)
        and picture.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    ):
        grey = ~grey  # zero is white; Pillow turns only up to 8 bits round
    if key is not None:
        grey[samples == key] = 255
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)

"""Pictures: bytes → upright RGB. Format and size come from the header; both are checked before any pixel is decoded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np

from detserve.core.detections import Pixels
from detserve.errors import BadPicture, PictureTooLarge, RequestError, UnsupportedFormat
from detserve.pictures import bombs, jpeg, pillow
from detserve.pictures.header import MAX_PIXELS, Header

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
class Image:
    """A decoded picture.

    rgb: uint8 [h, w, 3], upright, C-contiguous; size: (width, height) of the upright picture in pixels.
    """

    rgb: Pixels
    size: tuple[int, int]


def read_header(data: bytes | bytearray | memoryview) -> Header:
    """Format, size and orientation of a picture, with no pixel decoded and no limit applied.

    Raises BadPicture for bytes that are no picture or have a broken header, UnsupportedFormat for formats that are not
    served.
    """
    data = _searchable(data)
    name = _sniff(data)
    with as_request_errors(name):
        return jpeg.walk(data).header if name == "JPEG" else pillow.open_picture(data, name)[1]


def decode(
    data: bytes | bytearray | memoryview,
    max_pixels: int = MAX_PIXELS,
    target_size: Callable[[tuple[int, int]], tuple[int, int]] | None = None,
) -> Image:
    """The picture, or the first of several in a file, upright and in RGB.

    Grey becomes three equal channels, of 16 bits the high 8 stay, and what is transparent shows white.

    target_size: upright (width, height) of a picture → the (width, height) that it will be scaled to. A JPEG that is
    much larger is decoded at a half, a quarter or an eighth of its size; `Image.size` is its full size all the same.

    Raises BadPicture for bytes that are no picture, broken or cut short, PictureTooLarge for more than `max_pixels`
    pixels, UnsupportedFormat for formats and kinds of pixel that are not served, and nothing else.
    """
    data = _searchable(data)
    name = _sniff(data)
    reduction = 1
    with as_request_errors(name):
        if name == "JPEG":
            walked = jpeg.walk(data)
            header = walked.header
            _check_size(header.size, max_pixels)
            if target_size and walked.channels != 4:
                reduction = jpeg.reduction_for(header.size, target_size(header.size))
            rgb = _turn(jpeg.read(data, walked, reduction), header.orientation)
        else:
            picture, header = pillow.open_picture(data, name)
            _check_size(header.size, max_pixels)
            _check_size(bombs.decoded_size(picture), max_pixels)
            # Pillow turns a TIFF, and only a TIFF, while it decodes.
            rgb = _turn(
                pillow.read(picture, pillow.bits_of(data, picture)), 1 if name == "TIFF" else header.orientation
            )
        if rgb.shape != (-(-header.size[1] // reduction), -(-header.size[0] // reduction), 3):
            raise BadPicture(f"the pixels of the {name} picture do not fit the size in its header")
    return Image(rgb, header.size)


@dataclass(frozen=True)
class Compressed:
    """A JPEG that was checked and not yet decoded: upright as it lies, grey or YCbCr; size: its (width, height)."""

    data: bytes | bytearray
    size: tuple[int, int]


def compressed(data: bytes | bytearray | memoryview, max_pixels: int, most: int) -> Compressed | None:
    """A JPEG of at most `most` pixels that any decoder reads alike; None for everything else, which `decode` reads.

    Raises what `decode` raises.
    """
    data = _searchable(data)
    if _sniff(data) != "JPEG":
        return None
    with as_request_errors("JPEG"):
        walked = jpeg.walk(data)
        size = walked.header.size
        _check_size(size, max_pixels)
        # Adobe's marker may say that the channels are RGB or CMYK.
        plain = walked.channels in (1, 3) and walked.header.orientation == 1 and b"Adobe" not in data[: walked.scan]
        if not plain or size[0] * size[1] > most:
            return None
        jpeg.check(data, walked)
    return Compressed(data, size)


def _searchable(data: bytes | bytearray | memoryview) -> bytes | bytearray:
    """The data as a type that can be searched. TorchServe's bytearrays are not copied: megabytes take time."""
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
def as_request_errors(name: str) -> Iterator[None]:
    """Turn every failure of a decoder into a RequestError, without the decoder's message: it may hold addresses."""
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


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise PictureTooLarge(f"{size[0]}x{size[1]} is more than {max_pixels} pixels: send the picture smaller")


def _turn(stored: Pixels, orientation: int) -> Pixels:
    turn = _TURNS.get(orientation)
    return np.asarray(turn(stored), np.uint8) if turn else stored

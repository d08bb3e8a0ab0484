"""Depth: a map of distances beside a picture, as 16-bit PNG or TIFF or as float32 .npy → an array, within limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from detserve.errors import BadPicture, UnfitDepth, UnsupportedFormat
from detserve.pictures import bombs, pillow
from detserve.pictures.decode import as_request_errors

_NPY = b"\x93NUMPY"
_PICTURES = {"PNG": re.compile(rb"\x89PNG\r\n\x1a\n"), "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]")}
_MOST_HEADER = 10_000
_MOST_SPARE = 1 << 22
"""Pixels by which the tiles of a TIFF may reach over its edges."""
_SEND = "send 16-bit PNG or TIFF, or float32 .npy"


@dataclass(frozen=True)
class WithDepth:
    """The bytes of a picture and of the depth map beside it."""

    colour: bytes | bytearray
    depth: bytes | bytearray


def read(data: bytes | bytearray, size: tuple[int, int]) -> NDArray[Any]:
    """The map in its own units, uint16 or float32 [h, w]. size: (width, height) of the upright picture beside it.

    Nothing is unpickled, and no pixel is read before the size is known to be the picture's. Raises UnfitDepth for
    another size, BadPicture for what is broken, UnsupportedFormat for formats and kinds of samples that are not served.
    """
    if data.startswith(_NPY):
        return _read_npy(data, size)
    name = next((name for name, signature in _PICTURES.items() if signature.match(data)), None)
    if name is None:
        raise BadPicture(f"the depth map is none: {_SEND}")
    with as_request_errors(name):
        picture, header = pillow.open_picture(data, name)
        _check(header.size, size)
        if not picture.mode.startswith("I;16") or pillow.bits_of(data, picture) != 16:
            raise UnsupportedFormat(f"a depth map as {name} has one channel of 16 bits: {_SEND}")
        width, height = bombs.decoded_size(picture)  # refuses too many strips or tiles
        if width * height > 4 * size[0] * size[1] + _MOST_SPARE:
            raise BadPicture(f"the tiles of the {name} depth map are far larger than the map: save it anew")
        samples = np.asarray(picture).astype(np.uint16, copy=False)
        if samples.shape != (size[1], size[0]):
            raise BadPicture(f"the samples of the {name} depth map do not fit the size in its header")
    return samples


def _read_npy(data: bytes | bytearray, size: tuple[int, int]) -> NDArray[Any]:
    with as_request_errors("npy"):
        file = BytesIO(data)
        version = npy.read_magic(file)
        headers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in headers:
            raise UnsupportedFormat(f"a depth map as .npy has version 1.0 or 2.0, not {version[0]}.{version[1]}")
        shape, by_columns, kind = headers[version](file, max_header_size=_MOST_HEADER)
        if kind != np.dtype("<f4") or len(shape) not in (2, 3) or shape[2:] not in ((), (1,)):
            raise UnsupportedFormat("a depth map as .npy is float32 [height, width]")
        _check((shape[1], shape[0]), size)
        start, count = file.tell(), shape[0] * shape[1]
        if len(data) - start != 4 * count:
            raise BadPicture("the npy depth map is cut short, or longer than its header says")
        values = np.frombuffer(data, "<f4", count, start)
        return values.reshape(shape[:2], order="F" if by_columns else "C")


def _check(found: tuple[int, int], size: tuple[int, int]) -> None:
    if found != size:
        raise UnfitDepth("the depth map is {}x{}, its upright picture {}x{}: they must be alike".format(*found, *size))

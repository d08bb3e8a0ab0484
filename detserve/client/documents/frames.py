"""Frames: the pages of a TIFF, and pictures as documents of one page."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
from PIL.TiffImagePlugin import TiffImageFile

from detserve.client.documents import encoding
from detserve.client.documents.page import DocumentError, Page
from detserve.errors import RequestError
from detserve.pictures import bombs, pillow
from detserve.pictures.decode import decode, read_header
from detserve.pictures.header import MAX_PIXELS, Header

LEAST_DPI, MOST_DPI = 97, 2400
"""What a picture says of its resolution counts between these: phones and screens say 72 or 96 of anything."""

MOST_BYTES = 32 * 2**20
"""Of a picture that is sent; scans without compression have more."""


class PicturePages:
    """The pages of a TIFF, or the one page of another picture.

    A picture of one page is sent as it is, as a JPEG where it has more bytes than a server takes. The pages of a TIFF
    are sent as a JPEG each, those in black and white as a PNG.
    """

    def __init__(self, path: Path, dpi: float) -> None:
        """dpi: of pictures that do not say. Raises DocumentError for what is no picture, or a broken one."""
        self._dpi = dpi
        self._data = b""
        self._tiff: TiffImageFile | None = None
        self.count = 1
        file = path.open("rb")
        try:
            self._open(file)
        except RequestError as error:
            raise DocumentError(str(error)) from error
        except MemoryError as error:
            raise DocumentError("the picture is too large for this machine") from error
        finally:
            if self._tiff is None:
                file.close()

    def _open(self, file: BinaryIO) -> None:
        if file.read(4)[:2] in (b"II", b"MM"):
            file.seek(0)
            try:
                tiff = PIL.Image.open(file, formats=["TIFF"])
                self.count = getattr(tiff, "n_frames", 1)
            except Exception as error:  # whatever Pillow says of a broken file, differently from version to version
                raise DocumentError("the TIFF cannot be read: it is broken or cut short") from error
            if self.count > 1 and isinstance(tiff, TiffImageFile):
                self._tiff = tiff
                return
        file.seek(0)
        self._data = file.read()
        self._header: Header = read_header(self._data)

    def page(self, number: int) -> Page:
        """The page of that number, from 1."""
        try:
            return self._whole() if self._tiff is None else self._frame(self._tiff, number)
        except DocumentError:
            raise
        except RequestError as error:
            raise DocumentError(f"page {number}: {error}") from error
        except Exception as error:  # as above
            raise DocumentError(f"page {number} cannot be read: it is broken or cut short") from error

    def _whole(self) -> Page:
        """The one page of a picture."""
        with PIL.Image.open(io.BytesIO(self._data)) as picture:
            dpi = _resolution(picture, self._dpi)
        if self._header.orientation >= 5:  # it lies on a side
            dpi = dpi[::-1]
        if len(self._data) > MOST_BYTES:
            self._data = encoding.jpeg(np.ascontiguousarray(decode(self._data).rgb[..., ::-1]))
        return Page(1, self._data, self._header.size, dpi)

    def _frame(self, tiff: TiffImageFile, number: int) -> Page:
        tiff.seek(number - 1)
        width, height = bombs.decoded_size(tiff)
        if width * height > MAX_PIXELS:
            raise DocumentError(f"page {number}: {width}x{height} is more than {MAX_PIXELS} pixels")
        tiff.info.pop("xmp", None)  # Pillow would turn it by that too
        dpi, stored = _resolution(tiff, self._dpi), (tiff.tag_v2[256], tiff.tag_v2[257])
        if tiff.mode == "1":
            buffer = io.BytesIO()
            upright = tiff.copy()  # Pillow turns it while it decodes
            upright.save(buffer, "PNG", exif=b"")
            data, size = buffer.getvalue(), upright.size
        else:
            rgb = pillow.read(tiff, int(tiff.tag_v2.get(258, (1,))[0]))
            data, size = encoding.jpeg(rgb[..., ::-1].copy()), (rgb.shape[1], rgb.shape[0])
        return Page(number, data, size, dpi if size == stored else dpi[::-1])

    def close(self) -> None:
        """Close the file, and let go of its bytes."""
        self._data = b""
        if self._tiff is not None:
            self._tiff.close()


def _resolution(picture: PIL.Image.Image, otherwise: float) -> tuple[float, float]:
    """(x, y) in dots an inch, as the picture says, where that is likely."""
    try:
        x, y = (float(value) for value in picture.info.get("dpi", (0, 0)))
    except (TypeError, ValueError, ZeroDivisionError):
        return otherwise, otherwise
    return (x, y) if all(LEAST_DPI <= value <= MOST_DPI for value in (x, y)) else (otherwise, otherwise)

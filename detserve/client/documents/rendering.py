"""Rendering: the pages of a PDF → pictures, by PDFium."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium

from detserve.client.documents import encoding
from detserve.client.documents.page import Boxes, DocumentError, Matrix, Page, no_boxes
from detserve.pictures.header import MAX_PIXELS


class PdfPages:
    """The pages of a PDF, rendered upright as a viewer shows them: crop box, rotation, forms and annotations."""

    def __init__(self, path: Path, dpi: float, own_text: bool) -> None:
        """Raises DocumentError for a PDF that is broken, wants a password, or has no pages."""
        self._dpi = dpi
        self._own_text = own_text
        try:
            self._pdf = pdfium.PdfDocument(path)
        except pdfium.PdfiumError as error:
            if _wants_password(path):
                raise DocumentError("the PDF is encrypted and wants a password: save it without one") from error
            raise DocumentError("the PDF cannot be read: it is broken, cut short, or has no pages") from error
        self.count = len(self._pdf)
        if not self.count:
            self._pdf.close()
            raise DocumentError("the PDF has no pages")
        self._pdf.init_forms()

    def page(self, number: int) -> Page:
        """The page of that number, from 1, at the resolution asked for, or at less where that is too many pixels."""
        try:
            page = self._pdf[number - 1]
        except pdfium.PdfiumError as error:
            raise DocumentError(f"page {number} cannot be read: it is broken") from error
        try:
            width, height = page.get_size()
            dpi = _fitting(self._dpi, width, height)
            bitmap = page.render(scale=dpi / 72)
            try:
                pixels = bitmap.to_numpy()
                size = (bitmap.width, bitmap.height)
                data = encoding.jpeg(np.ascontiguousarray(pixels[..., :3]) if pixels.ndim == 3 else pixels)
            finally:
                bitmap.close()
            placed = _placed(page, size)
            texts = _text_boxes(page, placed) if self._own_text else no_boxes()
            # PDFium rounds the size up to whole pixels; these make it the page's own in points again.
            exact = (size[0] * 72 / width, size[1] * 72 / height)
            return Page(number, data, size, exact, texts, placed)
        except (pdfium.PdfiumError, MemoryError, ZeroDivisionError, np.linalg.LinAlgError) as error:
            raise DocumentError(f"page {number} cannot be rendered: it is broken or too large") from error
        finally:
            page.close()

    def close(self) -> None:
        """Close the PDF."""
        self._pdf.close()


def _wants_password(path: Path) -> bool:
    """By qpdf: the code of PDFium's error may be that of an earlier file."""
    import pikepdf

    try:
        pikepdf.open(path).close()
    except pikepdf.PasswordError:
        return True
    except (pikepdf.PdfError, OSError):
        pass
    return False


def _fitting(dpi: float, width: float, height: float) -> float:
    """At most that dpi, such that a page of that many points has no more pixels than a server and a JPEG take."""
    most = 72 * math.sqrt(MAX_PIXELS / (width * height)) - 1
    return min(dpi, most, 72 * (encoding.LONGEST - 1) / max(width, height))


def _placed(page: pdfium.PdfPage, size: tuple[int, int]) -> Matrix:
    """From pixels of the rendered picture of that size to the page's user space."""
    left, bottom, right, top = page.get_bbox()
    # Its corners as they are shown, from the upper left clockwise, when the page is turned by 0°, 90°, 180°, 270°.
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)
    origin, across, _, down = np.roll(corners, page.get_rotation() // 90, axis=0)
    return np.stack([(across - origin) / size[0], (down - origin) / size[1], origin], axis=1)


def _text_boxes(page: pdfium.PdfPage, placed: Matrix) -> Boxes:
    """Where a page has text: boxes x0, y0, x1, y1 in pixels of the rendered picture that is placed so."""
    texts = page.get_textpage()
    try:
        found = np.array([texts.get_rect(i) for i in range(texts.count_rects())], np.float64).reshape(-1, 2, 2)
    finally:
        texts.close()
    shown = (found - placed[:, 2]) @ np.linalg.inv(placed[:, :2]).T
    return np.concatenate([shown.min(axis=1), shown.max(axis=1)], axis=1)

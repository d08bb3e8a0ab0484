"""PDF: searchable documents, pages with invisible text over what they show.

The pages of a PDF stay as they are, and the text lies under them; words that they have as text already are left out.
Other documents become new PDFs: of each page its picture.
"""

from __future__ import annotations

from contextlib import ExitStack
from io import BufferedWriter
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
from pikepdf import Array, Dictionary, Name, Object, Pdf, Stream

from detserve.client.documents import encoding
from detserve.client.documents.font import Font
from detserve.client.documents.layer import operators
from detserve.client.documents.output import Answered
from detserve.client.documents.page import DocumentError, Matrix, Page, Source
from detserve.client.draft import Draft
from detserve.pictures import jpeg
from detserve.pictures.decode import decode

CHUNK = 32
"""Pages of pictures that are held in memory at once; more go to a file of their own until all are there."""
LARGEST = 14_400
"""Points of the longest side of a page, by the specification."""
_FONT, _PICTURE = Name("/DetserveInvisible"), Name("/Picture")


class Layered:
    """A PDF whose pages stay, with the text that was read on them."""

    def __init__(self, draft: Draft, source: Source) -> None:
        """Raises DocumentError for a PDF that cannot be written again."""
        self._draft = draft
        try:
            self._pdf = pikepdf.open(source.path)
        except pikepdf.PdfError as error:
            raise DocumentError("the PDF cannot be opened for writing: it is broken") from error
        self._font = Font(self._pdf)

    def add(self, answered: Answered) -> None:
        """Put the text into the page of that number. Raises DocumentError for a page that is broken."""
        number = answered.page.number
        try:
            page = self._pdf.pages[number - 1]
            name = page.add_resource(self._font.object, Name.Font, _FONT, replace_existing=True)
            content = operators(answered.lines, _placed(answered.page), self._font, str(name), answered.page.own_text)
            # Before what the page shows, where its own changes of the coordinates do not count yet.
            page.contents_add(content, prepend=True)
        except (pikepdf.PdfError, IndexError, TypeError, ValueError) as error:
            raise DocumentError(f"page {number} cannot be written again: it is broken") from error

    def finish(self) -> None:
        """Write the PDF; what protects it from changes, but not with a password, stays.

        Raises DocumentError for a PDF that is broken, and OSError.
        """
        self._font.finish()
        try:
            _save(self._pdf, self._draft.path, encryption=True if self._pdf.is_encrypted else None)
        except pikepdf.PdfError as error:
            raise DocumentError("the PDF cannot be written again: it is broken") from error

    def close(self) -> None:
        """Close the PDF that was read."""
        self._pdf.close()


class Pictured:
    """A new PDF, of each page its picture under its text."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._parts: list[Path] = []
        self._open()

    def _open(self) -> None:
        self._pdf = Pdf.new()
        self._font = Font(self._pdf)

    def add(self, answered: Answered) -> None:
        """A page."""
        if len(self._pdf.pages) == CHUNK:
            self._flush()
        page = answered.page
        width, height = page.points
        fit = min(1.0, LARGEST / max(width, height))
        width, height = width * fit, height * fit
        content = f"q {width:.3f} 0 0 {height:.3f} 0 0 cm {_PICTURE} Do Q\n".encode()
        content += operators(answered.lines, page.filling * fit, self._font, str(_FONT), page.own_text[:0])
        added = Dictionary(
            Type=Name.Page,
            MediaBox=Array([0, 0, round(width, 3), round(height, 3)]),
            Resources=Dictionary(
                Font=Dictionary({str(_FONT): self._font.object}),
                XObject=Dictionary({str(_PICTURE): _picture(self._pdf, page.data)}),
            ),
            Contents=Stream(self._pdf, content),
        )
        self._pdf.pages.append(pikepdf.Page(self._pdf.make_indirect(added)))

    def _flush(self) -> None:
        part = self._draft.beside(str(len(self._parts)))
        self._save(part)
        self._parts.append(part)
        self._open()

    def _save(self, path: Path) -> None:
        self._font.finish()
        _save(self._pdf, path, deterministic_id=True)
        self._pdf.close()

    def finish(self) -> None:
        """Write the PDF, out of its parts where it has several."""
        if not self._parts:
            self._save(self._draft.path)
            return
        self._flush()
        with ExitStack() as open_parts:
            whole = open_parts.enter_context(Pdf.new())
            for part in self._parts:
                whole.pages.extend(open_parts.enter_context(pikepdf.open(part)).pages)
            _save(whole, self._draft.path, deterministic_id=True)

    def close(self) -> None:
        """Free what is held."""
        self._pdf.close()


class _Patient(BufferedWriter):
    """A file that takes what has no room, and keeps the error: pikepdf ends the whole process where a write raises."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """As its base, but never raises."""
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """As its base, but never raises."""
        if self.error is None:
            try:
                super().flush()
            except OSError as error:
                self.error = error


def _save(pdf: Pdf, path: Path, **options: Any) -> None:
    """Write a PDF. Raises OSError where it cannot be, and PdfError."""
    with _Patient(path.open("wb", buffering=0)) as file:
        pdf.save(file, **options)
    if file.error:
        raise file.error


def _placed(page: Page) -> Matrix:
    assert page.placed is not None, "pages of a PDF say where they lie"
    return page.placed


def _picture(pdf: Pdf, data: bytes) -> Object:
    """A picture's bytes → an image of the PDF: an upright JPEG as it is, black and white without loss, else a JPEG."""
    if data.startswith(b"\xff\xd8"):
        stored = jpeg.walk(data)
        if stored.header.orientation == 1 and stored.bits == 8 and stored.channels in (1, 3):
            space = Name.DeviceRGB if stored.channels == 3 else Name.DeviceGray
            return _image(pdf, data, stored.header.size, space, Filter=Name.DCTDecode)
    image = decode(data)
    red, green, blue = (image.rgb[..., i] for i in range(3))
    if ((red == 0) | (red == 255)).all() and (red == green).all() and (red == blue).all():
        return _image(pdf, np.packbits(red > 0, axis=1).tobytes(), image.size, Name.DeviceGray, bits=1)
    encoded = encoding.jpeg(np.ascontiguousarray(image.rgb[..., ::-1]))
    return _image(pdf, encoded, image.size, Name.DeviceRGB, Filter=Name.DCTDecode)


def _image(pdf: Pdf, data: bytes, size: tuple[int, int], space: Name, bits: int = 8, **more: Name) -> Object:
    """An image of that (width, height); what has no filter yet is deflated when the PDF is saved."""
    kind = {"Type": Name.XObject, "Subtype": Name.Image, "Width": size[0], "Height": size[1]}
    return pdf.make_indirect(Stream(pdf, data, **kind, ColorSpace=space, BitsPerComponent=bits, **more))

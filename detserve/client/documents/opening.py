"""Opening: a file → its pages, by what is in the file and not by its name."""

from __future__ import annotations

from pathlib import Path

from detserve.client.documents.page import DocumentError, Pages, Source

_HEAD = 1024
"""Bytes in which a PDF's header lies; some have a preamble of other bytes."""


def source(path: Path) -> Source:
    """What kind of document a file is. Raises DocumentError for an empty file, OSError for one that cannot be read."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise DocumentError("the file is empty")
    return Source(path, is_pdf=b"%PDF-" in head)


def open_pages(source: Source, dpi: float, own_text: bool) -> Pages:
    """The pages of a document.

    dpi: at which PDF pages are rendered, and what a picture has that does not say; own_text: whether it is wanted to
    know where a PDF has text already. Raises DocumentError for what is broken, encrypted, or has no pages.
    """
    # Each brings a library of its own; one run seldom needs both.
    if source.is_pdf:
        from detserve.client.documents.rendering import PdfPages

        return PdfPages(source.path, dpi, own_text)
    from detserve.client.documents.frames import PicturePages

    return PicturePages(source.path, dpi)

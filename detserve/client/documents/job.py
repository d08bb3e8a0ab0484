"""Job: one document on its way from a file to its results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from detserve.client.documents.opening import open_pages, source
from detserve.client.documents.output import Answered, Writer
from detserve.client.documents.page import DocumentError, Page, Pages, Source
from detserve.client.draft import Draft

SUFFIXES = {"json": ".json", "txt": ".txt", "md": ".md", "hocr": ".hocr", "alto": ".alto.xml", "pdf": ".pdf"}


@dataclass(frozen=True)
class Wanted:
    """What is made of each document.

    out: an existing folder; formats: of FORMATS; dpi: at which PDF pages are rendered; flatten: whether a searchable
    PDF has pictures in place of a PDF's own pages; kept: files that no result may replace.
    """

    out: Path
    formats: tuple[str, ...]
    dpi: float
    flatten: bool
    kept: Collection[Path] = ()


class Job:
    """A document, its pages read one after the other, and written to drafts that take their names at the end."""

    def __init__(self, path: Path, name: str, wanted: Wanted) -> None:
        """name: of its results, without a suffix."""
        self.path = path
        self.failed = False
        self._name = name
        self._wanted = wanted
        self._drafts: list[Draft] = []
        self._writers: list[Writer] = []

    def open(self) -> Pages:
        """Its pages, and a draft for each result. Raises DocumentError or OSError when it cannot be read."""
        document = source(self.path)
        layered = document.is_pdf and not self._wanted.flatten
        pages = open_pages(document, self._wanted.dpi, own_text=layered and "pdf" in self._wanted.formats)
        try:
            for kind in self._wanted.formats:
                target = self._wanted.out / f"{self._name}{SUFFIXES[kind]}"
                if target.resolve() in self._wanted.kept:
                    raise DocumentError(f"the result would replace {target}: another --out is needed")
                self._drafts.append(Draft(target))
                self._writers.append(_writer(kind, self._drafts[-1], document, layered))
        except BaseException:
            pages.close()
            raise
        return pages

    def pages(self, opened: Pages) -> Iterator[Page]:
        """The pages in their order, rendered when they are asked for; no more of them after a failure."""
        for number in range(1, opened.count + 1):
            if self.failed:
                return
            yield opened.page(number)

    def add(self, answered: Answered) -> None:
        """Write the next page. Raises DocumentError or OSError when it cannot be."""
        for writer in self._writers:
            writer.add(answered)

    def finish(self) -> None:
        """Write the ends, and give all results their names, none before all are whole."""
        for writer in self._writers:
            writer.finish()
            writer.close()
        for draft in self._drafts:
            draft.keep()
        self.discard()

    def discard(self) -> None:
        """Remove what is not whole. Does nothing to what is."""
        with ExitStack() as at_last:
            for draft in self._drafts:
                at_last.callback(draft.discard)
            at_last.enter_context(suppress(OSError))  # no room for the rest of what is removed
            for writer in self._writers:
                at_last.callback(writer.close)
        self._writers, self._drafts = [], []


def _writer(kind: str, draft: Draft, document: Source, layered: bool) -> Writer:
    """The writer of a format. Each brings its libraries when it is asked for."""
    if kind == "pdf":
        from detserve.client.documents import pdf

        return pdf.Layered(draft, document) if layered else pdf.Pictured(draft)
    if kind == "hocr":
        from detserve.client.documents.hocr import Hocr

        return Hocr(draft.path, document)
    if kind == "alto":
        from detserve.client.documents.alto import Alto

        return Alto(draft.path, document)
    from detserve.client.documents import plain

    plain_writers: dict[str, Callable[[Path, Source], Writer]]
    plain_writers = {"json": plain.Json, "txt": plain.Text, "md": plain.Markdown}
    return plain_writers[kind](draft.path, document)

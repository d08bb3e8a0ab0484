"""XML: what hOCR and ALTO have in common, a file whose outer elements stay open while pages are added."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from lxml import etree

from detserve.client.documents.page import Source


class XmlFile:
    """A file of XML in UTF-8, written as the pages come."""

    doctype: ClassVar[str | None] = None
    namespaces: ClassVar[dict[str | None, str]]

    def __init__(self, path: Path, source: Source) -> None:
        self.source = source
        # Opened here and not by lxml, which says nothing where its own last bytes find no room.
        self._file = path.open("wb")
        self._open = ExitStack()
        self._xml = self._open.enter_context(etree.xmlfile(self._file, encoding="UTF-8"))
        self._xml.write_declaration()
        if self.doctype:
            self._xml.write_doctype(self.doctype)

    def enter(self, tag: str, attributes: dict[str, str] | None = None) -> None:
        """Open an element of the first namespace that lasts until the file is finished."""
        name = f"{{{self.namespaces[None]}}}{tag}"
        self._open.enter_context(self._xml.element(name, attributes or {}, nsmap=self.namespaces))
        self._xml.write("\n")

    def write(self, element: etree._Element) -> None:
        """Write a whole element, into that which was opened last."""
        self._xml.write(element, pretty_print=True)

    def finish(self) -> None:
        """Close the elements, and the file. Raises OSError where it cannot be written to its end."""
        self._open.close()
        self._file.close()

    def close(self) -> None:
        """Close the file, whatever is open in it."""
        self._file.close()

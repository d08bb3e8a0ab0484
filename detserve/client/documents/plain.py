"""Plain: documents as JSON, as text and as Markdown."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

from detserve.client.documents.output import Answered
from detserve.client.documents.page import Source
from detserve.client.documents.text import Line

FORM_FEED = "\f"
_MARKED = re.compile(r"([\\`*_\[\]<>&|~])|^(#{1,6}(?=\s|$)|[-+](?=\s|$)|=+$|-+$)|^(\d{1,9})([.)])(?=\s|$)")
"""What means something in Markdown: anywhere, at the start of a paragraph, or as the number of a list."""


class _TextFile:
    """A file of text in UTF-8."""

    def __init__(self, path: Path, source: Source) -> None:
        self._source = source
        self._count = 0
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Json(_TextFile):
    """The answers as they came: an object of the document with a list of its pages."""

    def add(self, answered: Answered) -> None:
        """A page, with an object a line."""
        page = answered.page
        head = {"page": page.number, "width": page.size[0], "height": page.size[1]}
        rows = ",\n".join(json.dumps(each, ensure_ascii=False) for each in answered.detections)
        start = f'{{"document": {json.dumps(str(self._source.path))}, "pages": [\n' if not self._count else ",\n"
        rows = f"\n{rows}\n" if rows else ""
        self._file.write(f'{start}{json.dumps(head)[:-1]}, "answer": [{rows}]}}')
        self._count += 1

    def finish(self) -> None:
        """The end of the list and of the object."""
        self._file.write("\n]}\n")


class Text(_TextFile):
    """Lines in reading order, a form feed between pages."""

    def add(self, answered: Answered) -> None:
        """A page, a row a line."""
        if self._count:
            self._file.write(FORM_FEED)
        self._file.writelines(f"{line.text}\n" for line in answered.lines)
        self._count += 1

    def finish(self) -> None:
        """Nothing follows the last page."""


class Markdown(_TextFile):
    """Paragraphs by the distance of lines, a rule between pages. Nothing is taken for a heading, list or table."""

    def add(self, answered: Answered) -> None:
        """A page, a row a paragraph and an empty one between."""
        if self._count:
            self._file.write("\n---\n\n")
        self._file.write("\n".join(f"{_marked(_joined(lines))}\n" for lines in answered.paragraphs))
        self._count += 1

    def finish(self) -> None:
        """Nothing follows the last page."""


def _joined(lines: list[Line]) -> str:
    """The text of a paragraph; a space where a line ends, but between signs of scripts that know none."""
    joined = lines[0].text
    for line in lines[1:]:
        wide = unicodedata.east_asian_width(joined[-1]) in "WF" and unicodedata.east_asian_width(line.text[0]) in "WF"
        joined += f"{'' if wide else ' '}{line.text}"
    return joined


def _marked(text: str) -> str:
    """Text that Markdown shows as it is."""
    return _MARKED.sub(lambda found: f"{found[3]}\\{found[4]}" if found[3] else f"\\{found[0]}", text)

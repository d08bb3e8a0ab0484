"""hOCR: a document as XHTML whose classes and titles say where each word stands, after hOCR 1.2."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from lxml import etree
from lxml.builder import ElementMaker

from detserve.client.documents.output import Answered
from detserve.client.documents.page import Page, Source
from detserve.client.documents.text import Line, Quad, Word, box
from detserve.client.documents.xml import XmlFile

XHTML = "http://www.w3.org/1999/xhtml"
CLASSES = "ocr_page ocr_carea ocr_par ocr_line ocrx_word"
_LEVEL = np.cos(np.radians(45))
_E = ElementMaker(namespace=XHTML, nsmap={None: XHTML})


class Hocr(XmlFile):
    """Pages > areas > paragraphs > lines > words. An area is a paragraph."""

    doctype: ClassVar[str | None] = "<!DOCTYPE html>"
    namespaces: ClassVar[dict[str | None, str]] = {None: XHTML}

    def __init__(self, path: Path, source: Source) -> None:
        super().__init__(path, source)
        self.enter("html")
        self.write(
            _E.head(
                _E.title(source.path.name),
                _E.meta({"http-equiv": "Content-Type", "content": "text/html; charset=utf-8"}),
                _E.meta(name="ocr-system", content="detserve"),
                _E.meta(name="ocr-capabilities", content=f"{CLASSES} ocrp_wconf"),
            )
        )
        self.enter("body")

    def add(self, answered: Answered) -> None:
        """A page."""
        page = answered.page
        element = _div("ocr_page", f"page_{page.number}", self._of_page(page))
        for i, lines in enumerate(answered.paragraphs, 1):
            bounds = _bounds([line.quad for line in lines], page)
            area = etree.SubElement(element, f"{{{XHTML}}}div", _named("ocr_carea", f"area_{page.number}_{i}", bounds))
            paragraph = _E.p(_named("ocr_par", f"par_{page.number}_{i}", bounds))
            area.append(paragraph)
            for k, line in enumerate(lines, 1):
                paragraph.append(_line(line, page, f"{page.number}_{i}_{k}"))
        self.write(element)

    def _of_page(self, page: Page) -> str:
        image = str(self.source.path).replace('"', "'")
        width, height = page.size
        x, y = (round(dpi) for dpi in page.dpi)
        return f'image "{image}"; bbox 0 0 {width} {height}; ppageno {page.number - 1}; scan_res {x} {y}'


def _line(line: Line, page: Page, number: str) -> etree._Element:
    title = _bounds([word.quad for word in line.words], page)
    x, y = line.direction
    if x >= _LEVEL:
        # The slope of the baseline, and how far below the lower edge of the box it starts at the box's left.
        bottom = box([word.quad for word in line.words], page.size)[3]
        title += f"; baseline {_number(y / x)} {round(line.baseline[0, 1] - bottom)}"
    else:
        title += f"; textangle {_number(np.degrees(np.arctan2(-y, x)))}"
    element = _E.span(_named("ocr_line", f"line_{number}", title))
    for i, word in enumerate(line.words, 1):
        element.append(_word(word, page, f"{number}_{i}"))
    return element


def _word(word: Word, page: Page, number: str) -> etree._Element:
    title = f"{_bounds([word.quad], page)}; x_wconf {round(100 * word.confidence)}"
    return _E.span(word.text, _named("ocrx_word", f"word_{number}", title))


def _number(value: float) -> str:
    return f"{round(value, 4) + 0.0:g}"  # no -0


def _div(kind: str, name: str, title: str) -> etree._Element:
    return _E.div(_named(kind, name, title))


def _named(kind: str, name: str, title: str) -> dict[str, str]:
    return {"class": kind, "id": name, "title": title}


def _bounds(quads: list[Quad], page: Page) -> str:
    return "bbox {} {} {} {}".format(*box(quads, page.size))

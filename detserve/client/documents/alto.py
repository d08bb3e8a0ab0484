"""ALTO: a document as XML of the Library of Congress, version 4."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from lxml import etree
from lxml.builder import ElementMaker

from detserve.client.documents.output import Answered
from detserve.client.documents.page import Page, Source
from detserve.client.documents.text import Line, Quad, Word, box
from detserve.client.documents.xml import XmlFile

NAMESPACE = "http://www.loc.gov/standards/alto/ns-v4#"
SCHEMA = "http://www.loc.gov/standards/alto/v4/alto-4-4.xsd"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_E = ElementMaker(namespace=NAMESPACE, nsmap={None: NAMESPACE})


class Alto(XmlFile):
    """Pages > text blocks > text lines > strings, in pixels. A block is a paragraph."""

    namespaces: ClassVar[dict[str | None, str]] = {None: NAMESPACE, "xsi": _XSI}

    def __init__(self, path: Path, source: Source) -> None:
        super().__init__(path, source)
        self.enter("alto", {f"{{{_XSI}}}schemaLocation": f"{NAMESPACE} {SCHEMA}", "SCHEMAVERSION": "4.4"})
        self.write(
            _E.Description(
                _E.MeasurementUnit("pixel"),
                _E.sourceImageInformation(_E.fileName(str(source.path))),
                _E.Processing(
                    _E.processingCategory("contentGeneration"),
                    _E.processingSoftware(_E.softwareName("detserve")),
                    ID="OCR",
                ),
            )
        )
        self.enter("Layout")

    def add(self, answered: Answered) -> None:
        """A page."""
        page = answered.page
        width, height = (str(side) for side in page.size)
        space = _E.PrintSpace(HPOS="0", VPOS="0", WIDTH=width, HEIGHT=height)
        for i, lines in enumerate(answered.paragraphs, 1):
            block = _E.TextBlock(_placed([line.quad for line in lines], page), ID=f"block_{page.number}_{i}")
            for k, line in enumerate(lines, 1):
                block.append(_line(line, page, f"{page.number}_{i}_{k}"))
            space.append(block)
        number = str(page.number)
        self.write(_E.Page(space, ID=f"page_{number}", PHYSICAL_IMG_NR=number, WIDTH=width, HEIGHT=height))


def _line(line: Line, page: Page, number: str) -> etree._Element:
    element = _E.TextLine(
        _placed([word.quad for word in line.words], page),
        _E.Shape(_E.Polygon(POINTS=" ".join(_point(x, y) for x, y in line.quad))),
        ID=f"line_{number}",
        BASELINE=" ".join(_point(x, y) for x, y in line.baseline),
    )
    for i, word in enumerate(line.words, 1):
        if i > 1:
            element.append(_E.SP())
        element.append(_string(word, page, f"{number}_{i}"))
    return element


def _string(word: Word, page: Page, number: str) -> etree._Element:
    confidence = f"{min(1.0, max(0.0, word.confidence)):.4g}"
    return _E.String(_placed([word.quad], page), ID=f"word_{number}", CONTENT=word.text, WC=confidence)


def _placed(quads: Sequence[Quad], page: Page) -> dict[str, str]:
    x0, y0, x1, y1 = box(quads, page.size)
    return {"HPOS": str(x0), "VPOS": str(y0), "WIDTH": str(x1 - x0), "HEIGHT": str(y1 - y0)}


def _point(x: float, y: float) -> str:
    return f"{x:.0f},{y:.0f}"

"""hOCR and ALTO: valid, and what they say is where it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lxml import etree

from detserve.client.documents.alto import NAMESPACE, Alto
from detserve.client.documents.hocr import XHTML, Hocr
from detserve.client.documents.output import Writer
from detserve.client.documents.page import Source
from tests.client.documents.made import answered, rows, said, split

ALTO, HTML = f"{{{NAMESPACE}}}", f"{{{XHTML}}}"
FOUND = [
    *split(said("Straße & <Haus> 漢字", 100, 100, 500)),
    said("next to it", 100, 150, 300),
    said("climbing", 100, 600, 400, turn=-5),
    said("upwards", 900, 1200, 300, turn=-90),
    said("over the edge", 800, 1380, 300),
]


def written(kind: type[Writer], path: Path) -> etree._Element:
    writer = kind(path, Source(Path('a "scan" & more.pdf'), is_pdf=True))
    for number, found in enumerate((FOUND, [], rows("last page")), 1):
        writer.add(answered(found, number))
    writer.finish()
    writer.close()
    return etree.parse(path).getroot()


@pytest.fixture
def hocr(tmp_path: Path) -> etree._Element:
    return written(Hocr, tmp_path / "x.hocr")


@pytest.fixture
def alto(tmp_path: Path) -> etree._Element:
    return written(Alto, tmp_path / "x.xml")


def test_hocr_satisfies_its_validator(tmp_path: Path) -> None:
    """hocr-spec, which its author publishes for this; in a process of its own, as it is of Python 2's time."""
    validator = Path(sys.executable).with_name("hocr-spec")
    written(Hocr, tmp_path / "x.hocr")
    command = [validator, "--profile", "standard", tmp_path / "x.hocr"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended
    assert "Document is valid" in ended.stdout + ended.stderr
    assert "[ERROR]" not in ended.stdout + ended.stderr


def of_class(root: etree._Element, name: str) -> list[etree._Element]:
    return [each for each in root.iter() if each.get("class") == name]


def test_hocr_tells_where_words_are(hocr: etree._Element) -> None:
    pages = of_class(hocr, "ocr_page")
    assert pages[1].get("title") == "image \"a 'scan' & more.pdf\"; bbox 0 0 1000 1400; ppageno 1; scan_res 200 200"
    assert [len(of_class(page, "ocrx_word")) for page in pages] == [4 + 3 + 1 + 1 + 3, 0, 2]
    first = of_class(pages[0], "ocr_line")[0]
    assert first.get("title") == "bbox 100 100 600 140; baseline 0 -10"
    assert " ".join("".join(first.itertext()).split()) == "Straße & <Haus> 漢字"
    words = of_class(first, "ocrx_word")
    assert words[0].get("title") == "bbox 100 100 267 140; x_wconf 95"
    climbing, upwards, edge = (of_class(pages[0], "ocr_line")[i].get("title") for i in (2, 3, 4))
    assert re.search(r"bbox 100 565 502 640; baseline -0.0875 -11$", climbing), climbing
    assert upwards == "bbox 900 900 940 1200; textangle 90"
    assert edge.startswith("bbox 800 1380 1000 1400")


def test_boxes_of_hocr_hold_what_is_in_them(hocr: etree._Element) -> None:
    for element in hocr.iter():
        title, above = element.get("title", ""), element.getparent()
        if not title.startswith("bbox") or not (above.get("title") or "").startswith("bbox"):
            continue
        inner, outer = ([int(v) for v in re.findall(r"\d+", each)[:4]] for each in (title, above.get("title")))
        assert inner[0] >= outer[0] and inner[1] >= outer[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def test_alto_has_the_structure_of_version_4(alto: etree._Element) -> None:
    """The rules of alto-4-4.xsd for the elements and attributes that are written, in its own order."""
    children = {
        "alto": ["Description", "Layout"],
        "Description": ["MeasurementUnit", "sourceImageInformation", "Processing"],
        "sourceImageInformation": ["fileName"],
        "Processing": ["processingCategory", "processingSoftware"],
        "processingSoftware": ["softwareName"],
        "Layout": ["Page"],
        "Page": ["PrintSpace"],
        "PrintSpace": ["TextBlock"],
        "TextBlock": ["TextLine"],
        "TextLine": ["Shape", "String", "SP"],
        "Shape": ["Polygon"],
    }
    placed = {"HPOS", "VPOS", "WIDTH", "HEIGHT"}
    needed = {
        "Processing": {"ID"}, "Page": {"ID", "PHYSICAL_IMG_NR", "WIDTH", "HEIGHT"}, "PrintSpace": placed,
        "TextBlock": placed | {"ID"}, "TextLine": placed, "String": placed | {"CONTENT"}, "Polygon": {"POINTS"},
    }  # fmt: skip
    names = [each.get("ID") for each in alto.iter() if each.get("ID")]
    assert len(names) == len(set(names)) > 20
    for element in alto.iter():
        tag = element.tag.removeprefix(ALTO)
        found = [child.tag.removeprefix(ALTO) for child in element]
        order = children.get(tag, [])
        assert set(found) <= set(order), tag
        if tag != "TextLine":
            assert found == sorted(found, key=order.index), tag
        else:
            assert found[0] == "Shape"
            assert found[1::2] == ["String"] * len(found[1::2]) and found[2::2] == ["SP"] * len(found[2::2])
        assert needed.get(tag, set()) <= set(element.attrib), tag
        for key in placed & set(element.attrib):
            assert int(element.get(key)) >= 0
        assert 0 <= float(element.get("WC", "0")) <= 1
    assert alto.findtext(f"{ALTO}Description/{ALTO}MeasurementUnit") == "pixel"


def test_alto_satisfies_its_schema(alto: etree._Element) -> None:
    """The schema may not be copied into this project (CC BY-SA): DETSERVE_ALTO_XSD names a copy of alto-4-4.xsd."""
    if not (path := os.environ.get("DETSERVE_ALTO_XSD")):
        pytest.skip("DETSERVE_ALTO_XSD names no copy of alto-4-4.xsd, which the Library of Congress publishes")

    class Links(etree.Resolver):
        """XLink's schema, of which nothing is used here, without asking the network."""

        def resolve(self, url: str, _: object, context: object) -> object:
            if "xlink" not in url:
                return None
            group = '<xsd:attributeGroup name="simpleLink"><xsd:anyAttribute/></xsd:attributeGroup>'
            namespaces = 'xmlns:xsd="http://www.w3.org/2001/XMLSchema" targetNamespace="http://www.w3.org/1999/xlink"'
            return self.resolve_string(f"<xsd:schema {namespaces}>{group}</xsd:schema>", context)

    parser = etree.XMLParser()
    parser.resolvers.add(Links())
    etree.XMLSchema(etree.parse(path, parser)).assertValid(alto)


def test_alto_tells_where_words_are(alto: etree._Element) -> None:
    lines = list(alto.iter(f"{ALTO}TextLine"))
    texts = [" ".join(each.get("CONTENT") for each in line.iter(f"{ALTO}String")) for line in lines]
    assert texts == ["Straße & <Haus> 漢字", "next to it", "climbing", "upwards", "over the edge", "last page"]
    assert {key: lines[0].get(key) for key in ("HPOS", "VPOS", "WIDTH", "HEIGHT")} == {
        "HPOS": "100", "VPOS": "100", "WIDTH": "500", "HEIGHT": "40",
    }  # fmt: skip
    points = lines[3].find(f"{ALTO}Shape/{ALTO}Polygon").get("POINTS")
    assert np.array([point.split(",") for point in points.split()], int).tolist() == [
        [900, 1200], [900, 900], [940, 900], [940, 1200],
    ]  # fmt: skip
    assert lines[0].get("BASELINE") == "100,130 600,130"

"""The font of invisible text: its file is what fontTools makes of it, and its tables say what was written."""

from __future__ import annotations

import base64
import io
import zlib

import pikepdf
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from detserve.client.documents import font
from detserve.client.documents.text import WIDTHS


def made() -> bytes:
    """A TrueType font of one filled box of each width, as high as a line."""
    names = [f"box{width}" for width in WIDTHS]
    glyphs = {}
    for name, width in zip(names, WIDTHS, strict=True):
        pen = TTGlyphPen(None)
        right = max(width, 1)
        pen.moveTo((0, font.DESCENT))
        for point in ((0, font.ASCENT), (right, font.ASCENT), (right, font.DESCENT)):
            pen.lineTo(point)
        pen.closePath()
        glyphs[name] = pen.glyph()
    made = FontBuilder(1000, isTTF=True)
    made.setupGlyphOrder([".notdef", *names])
    made.setupGlyf({".notdef": TTGlyphPen(None).glyph(), **glyphs})
    made.setupHorizontalMetrics({".notdef": (500, 0)} | {n: (w, 0) for n, w in zip(names, WIDTHS, strict=True)})
    made.setupHorizontalHeader(ascent=font.ASCENT, descent=font.DESCENT)
    made.font["head"].created = made.font["head"].modified = 0
    made.font.recalcTimestamp = False
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()


def test_the_file_is_what_fonttools_makes() -> None:
    assert zlib.decompress(base64.b64decode(font._FILE)) == made()


def test_every_letter_has_a_code_its_width_and_its_meaning() -> None:
    with pikepdf.new() as pdf:
        invisible = font.Font(pdf)
        assert invisible.codes("aWa😀漢") == "00010002000100030004"
        invisible.finish()
        inner = invisible.object.DescendantFonts[0]
        assert [int(each) for each in inner.W[1]] == [500, 850, 1000, 1000]
        glyphs = inner.CIDToGIDMap.read_bytes()
        assert [WIDTHS[glyphs[i] - 1] for i in (3, 5, 7, 9)] == [500, 850, 1000, 1000]
        table = invisible.object.ToUnicode.read_bytes().decode()
        assert "4 beginbfchar\n<0001> <0061>\n<0002> <0057>\n<0003> <D83DDE00>\n<0004> <6F22>\nendbfchar" in table

"""Font: one that shows nothing, and gives every letter that was written with it back.

Its letters get codes in the order in which they come, and a table says what each code means (ToUnicode), so any script
can be copied. They share a few glyphs, filled boxes as high as a line: a viewer marks these when text is selected, and
shows them nowhere, as the text is drawn in the mode that shows nothing.
"""

from __future__ import annotations

import base64
import zlib

from pikepdf import Array, Dictionary, Name, Object, Pdf, Stream, String

from detserve.client.documents.text import BASELINE, WIDTHS, width_of

DESCENT = -round(1000 * BASELINE)
ASCENT = 1000 + DESCENT
"""Above and below the baseline, in thousandths of the font's size: what a viewer marks when text is selected."""
MOST_CODES = 0xFFFF
"""Codes of two bytes; 0 is none."""
_FILE = (
    "eNpjYGRgYGBjcGBgYlBIz6lMu2zdtZSBgVEEKDonIzUxJem/0wEgOweIzTKAAmznmV4D2UuAWCUjt6SC7wYDCLwAYpmc/OREhlKG"
    "OUD9LEC+QG5iRQEDJ9B0BoYTQKzAALILiOfll72I57f5ysDM/IIBA/z7w/yC6QmQwQx0EwQA9TA9+fcHKARU//8/kGRE08QOFmFn"
    "YIHKMKGbyvgFSutA2ExdQNOCICaCAS+DFIM6gwmDI4MfyAygbYxAVzAzMAgKGgsyghz1R4IBIsOoA5NRFGTUgUpBZL4gyXxBlmHq"
    "QsgwdSHLMAchZJiDUGReIMm8gMgAAM4PXH4="
)
"""A TrueType font of a box for each of WIDTHS, made with fontTools in tests/client/documents/test_font.py; deflated."""
_BLOCK = 100  # entries of one section of a table, by the specification of CMaps
_NAME = "Invisible"


class Font:
    """The font of one PDF."""

    def __init__(self, pdf: Pdf) -> None:
        self._pdf = pdf
        self._codes: dict[str, int] = {}
        self._within: Object = pdf.make_indirect(
            Dictionary(
                Type=Name.Font,
                Subtype=Name.CIDFontType2,
                BaseFont=Name(f"/{_NAME}"),
                CIDSystemInfo=Dictionary(Registry=String("Adobe"), Ordering=String("Identity"), Supplement=0),
                FontDescriptor=self._descriptor(),
                DW=500,
            )
        )
        self.object: Object = pdf.make_indirect(
            Dictionary(
                Type=Name.Font,
                Subtype=Name.Type0,
                BaseFont=Name(f"/{_NAME}"),
                Encoding=Name("/Identity-H"),
                DescendantFonts=Array([self._within]),
            )
        )

    def codes(self, text: str) -> str:
        """Text as the hexadecimal digits of its codes."""
        return "".join(f"{self._codes.setdefault(letter, len(self._codes) + 1):04X}" for letter in text)

    def finish(self) -> None:
        """Tell the PDF what all codes mean that were given out. Called once, before it is saved."""
        assert len(self._codes) <= MOST_CODES, "Unicode has more letters, a document has not"
        self._within.W = Array([1, Array([width_of(letter) for letter in self._codes])])
        self._within.CIDToGIDMap = Stream(self._pdf, b"\0\0" + b"".join(map(_glyph, self._codes)))
        self.object.ToUnicode = Stream(self._pdf, _to_unicode(self._codes).encode("ascii"))

    def _descriptor(self) -> Object:
        return self._pdf.make_indirect(
            Dictionary(
                Type=Name.FontDescriptor,
                FontName=Name(f"/{_NAME}"),
                FontFile2=Stream(self._pdf, zlib.decompress(base64.b64decode(_FILE))),
                FontBBox=Array([0, DESCENT, 1000, ASCENT]),
                Flags=4,  # letters of its own
                Ascent=ASCENT,
                Descent=DESCENT,
                CapHeight=ASCENT,
                ItalicAngle=0,
                StemV=80,
            )
        )


def _glyph(letter: str) -> bytes:
    """The two bytes of the number of a letter's glyph."""
    return (WIDTHS.index(width_of(letter)) + 1).to_bytes(2, "big")


def _to_unicode(codes: dict[str, int]) -> str:
    rows = [f"<{code:04X}> <{letter.encode('utf-16-be').hex().upper()}>" for letter, code in codes.items()]
    blocks = [rows[i : i + _BLOCK] for i in range(0, len(rows), _BLOCK)]
    table = "\n".join(f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar" for block in blocks)
    return f"""/CIDInit /ProcSet findresource begin
12 dict begin
begincmap
/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def
/CMapName /Adobe-Identity-UCS def
/CMapType 2 def
1 begincodespacerange
<0000> <FFFF>
endcodespacerange
{table}
endcmap
CMapName currentdict /CMap defineresource pop
end
end
"""

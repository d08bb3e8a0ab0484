"""Font: one that shows nothing, and gives every letter that was written with it back.

Its letters get codes in the order in which they come, and a table says what each code means (ToUnicode), so any script
can be copied. All codes show the one blank glyph of a font file of 252 bytes.
"""

from __future__ import annotations

import base64
import zlib

from pikepdf import Array, Dictionary, Name, Object, Pdf, Stream, String

from detserve.client.documents.text import width_of

ASCENT, DESCENT = 780, -220
"""Above and below the baseline, in thousandths of the font's size: what a viewer marks when text is selected."""
MOST = 0xFFFF
"""Codes of two bytes; 0 is none."""
_FILE = (
    "eNpjYGRgYGBjcGBgYlBIz6lMY4CAH0DMmJGamBIv5vAAyM4BYrMMoAAzH6MUkL0EiFUycksqGL+A1b8AmZKTn5wI1f8BxM9NrChg"
    "YAaazMBwAogVGEB2AXHej6n74/ltvjIwM79gwA0gOhkgeph5/qsAGV8QIiiAESzCBOczoRsG14kEAIvbGrY="
)
"""A TrueType font of an empty glyph, as tests/client/documents/test_font.py makes it with fontTools; deflated."""
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
        count = len(self._codes)
        assert count <= MOST, "Unicode has more letters, a document has not"
        self._within.W = Array([1, Array([width_of(letter) for letter in self._codes])])
        self._within.CIDToGIDMap = Stream(self._pdf, b"\0\1" * (count + 1))
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

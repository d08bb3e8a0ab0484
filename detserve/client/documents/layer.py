"""Layer: the text of a page as PDF operators that show nothing, each word at its place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detserve.client.documents.font import ASCENT, DESCENT, Font
from detserve.client.documents.page import Boxes, Matrix
from detserve.client.documents.text import Line, Quad, Word, runs_left, width_of

COVERED = 0.25
"""A word of which the page's own text covers so much is there already."""
_SPACE = 0.12
"""The least space between two words, in heights of their line: less is taken for the space of two letters."""
_SHORTEST = 0.5
"""Of its width that a word keeps at least when it makes room for a space."""


_ASKEW = np.sin(np.radians(12))
"""Words of lines that are less askew are laid level, each at its place: of letters that climb, programs that extract
text make no words."""


def operators(lines: Sequence[Line], matrix: Matrix, font: Font, name: str, own_text: Boxes) -> bytes:
    """Lines in reading order → PDF operators.

    matrix: from pixels of the picture to the page's user space; name: of the font among the page's resources; own_text:
    boxes in pixels where the page has text already, words there are left out.
    """
    rows = [row for line in lines if (row := _line(line, matrix, font, name, own_text))]
    return "\n".join(["q BT 3 Tr", *rows, "ET Q\n"]).encode("ascii") if rows else b""


def _line(line: Line, matrix: Matrix, font: Font, name: str, own_text: Boxes) -> str:
    words = [word for word in line.words if not _is_covered(word.quad, own_text)]
    words.sort(key=lambda word: float(word.quad[0] @ line.direction))  # a PDF has them from left to right in any script
    quads = [word.quad @ matrix[:, :2].T + matrix[:, 2] for word in words]
    if not quads:
        return ""
    size = float(np.median([np.hypot(*(q[0] + q[1] - q[2] - q[3])) / 2 for q in quads]))
    if size < 1e-3:
        return ""
    rows = [f"{name} {_number(size)} Tf"]
    for i, (word, quad) in enumerate(zip(words, quads, strict=True)):
        rows.append(_word(word, quad, quads[i + 1] if i + 1 < len(quads) else None, size, font))
    return "\n".join(rows)


def _word(word: Word, quad: Quad, following: Quad | None, size: float, font: Font) -> str:
    """A word, its lower edge a descent below its baseline, and the space that reaches to the following one."""
    start, along = quad[3], quad[2] - quad[3]
    length = max(float(np.hypot(*along)), 1e-3)
    x, y = along / length
    if min(abs(x), abs(y)) <= _ASKEW:
        # From the word's middle, so that it stays where it is.
        x, y = round(x), round(y)
        start = start + (along - length * np.array([x, y])) / 2
    baseline = start + np.array([-y, x]) * size * -DESCENT / (ASCENT - DESCENT)
    space, shown = 0.0, length
    if following is not None:
        # Quads of words may touch; without some space between them two words would be copied as one.
        gap = float((following[3] - quad[3]) @ along) / length - length
        shown = max(_SHORTEST * length, min(length, length + gap - _SPACE * size))
        space = max(length + gap - shown, _SPACE * size / 2)
    rows = f"{_turned(x, y)} {_number(*baseline)} Tm {_stretched(_visual(word.text), shown, size, font)}"
    return f"{rows} {_stretched(' ', space, size, font)}" if space else rows


def _stretched(text: str, length: float, size: float, font: Font) -> str:
    """Operators that write a text over exactly that length."""
    natural = max(1, sum(map(width_of, text))) * size / 1000
    return f"{_number(100 * length / natural)} Tz <{font.codes(text)}> Tj"


def _visual(text: str) -> str:
    """A word's letters from left to right, as a PDF has them."""
    return text[::-1] if runs_left(text) else text


def _turned(x: float, y: float) -> str:
    return _number(x, y, -y, x, places=5)


def _number(*values: float, places: int = 3) -> str:
    return " ".join(f"{value:.{places}f}".rstrip("0").rstrip(".") for value in values)


def _is_covered(quad: Quad, boxes: Boxes) -> bool:
    (x0, y0), (x1, y1) = quad.min(axis=0), quad.max(axis=0)
    width = np.clip(np.minimum(boxes[:, 2], x1) - np.maximum(boxes[:, 0], x0), 0, None)
    height = np.clip(np.minimum(boxes[:, 3], y1) - np.maximum(boxes[:, 1], y0), 0, None)
    shared: NDArray[np.float64] = width * height
    return bool(shared.sum() >= COVERED * max((x1 - x0) * (y1 - y0), 1e-9)) and bool(len(boxes))

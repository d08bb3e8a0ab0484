"""Text of a page: what a server answered, as words on lines.

All geometry is in pixels of the page's upright picture, y down. A quad is float64 [4, 2], clockwise from the top left
of the text as it is read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detserve.client.answer import quad_of
from detserve.client.documents.page import DocumentError

Quad = NDArray[np.float64]

BASELINE = 0.26
"""How far above the lower edge of a line its letters stand, in heights of the line; its margin is in that."""
WIDTHS = (0, 300, 500, 650, 850, 1000)
"""About how wide letters are, in thousandths of the height of their line."""
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What XML does not take, and nobody reads."""
ALONG = np.cos(np.radians(10))
"""The least product of two directions, of length 1, that count as the same."""
_GAP, _OVERLAP, _ASIDE, _HEIGHTS = 0.8, 0.5, 0.35, 1.7
"""Words are of one line up to this far apart, overlapping, beside it (in heights), and so much higher."""


@dataclass(frozen=True)
class Word:
    """A word without spaces. confidence: of its reading, 0 to 1."""

    text: str
    quad: Quad
    confidence: float


@dataclass(frozen=True)
class Line:
    """Words in the order in which they are read; one at least."""

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        """The words, a space between each two."""
        return " ".join(word.text for word in self.words)

    @cached_property
    def quad(self) -> Quad:
        """From the start of the first word to the end of the last."""
        first, last = self.words[0].quad, self.words[-1].quad
        return np.stack([first[0], last[1], last[2], first[3]])

    @cached_property
    def height(self) -> float:
        """Pixels across the line, the median of its words'."""
        return float(np.median([_height(word.quad) for word in self.words]))

    @property
    def baseline(self) -> Quad:
        """[2, 2], where the letters of the line stand, from its start to its end."""
        top_left, top_right, bottom_right, bottom_left = self.quad
        start, end = (
            bottom_left + BASELINE * (top_left - bottom_left),
            bottom_right + BASELINE * (top_right - bottom_right),
        )
        return np.stack([start, end])

    @property
    def direction(self) -> NDArray[np.float64]:
        """Unit vector in which the line runs."""
        return _direction(self.quad)


def box(quads: Sequence[Quad], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Upright x0, y0, x1, y1 around quads, in whole pixels inside of a picture of that (width, height)."""
    points = np.concatenate(quads)
    low = np.clip(np.floor(points.min(axis=0)), 0, size)
    high = np.clip(np.ceil(points.max(axis=0)), 0, size)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def lines_of(detections: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> list[Line]:
    """An answer of a model that reads → its lines in the answer's order.

    An object of the answer may be a line or, after `X-Split: words`, a word: words that follow each other at the same
    height belong to one line. Where an object has several words, each gets its share of the quad by its length.
    Raises DocumentError for an answer without text.
    """
    lines: list[list[Word]] = []
    for found in detections:
        if "text" not in found:
            raise DocumentError("the answer has no text: a model that reads is needed, --model ocr1 for instance")
        quad = np.asarray(quad_of(found), np.float64).reshape(4, 2) * size
        words = _words(str(found["text"]), quad, float(found.get("text_conf", found["conf"])))
        if not words:
            continue
        if lines and _follows(lines[-1][-1].quad, quad):
            lines[-1].extend(words)
        else:
            lines.append(words)
    return [Line(tuple(words)) for words in lines]


def width_of(letter: str) -> int:
    """About how wide a letter is, one of WIDTHS."""
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    if unicodedata.east_asian_width(letter) in "WF":
        return 1000
    if letter in " iljftrI1.,:;'|!()[]{}-·":
        return 300
    if letter in "mwMW@%—…":
        return 850
    return 650 if letter.isupper() else 500


def runs_left(text: str) -> bool:
    """Whether a text has letters of a script that is written from right to left."""
    return any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text)


def _words(text: str, quad: Quad, confidence: float) -> list[Word]:
    texts = _UNPRINTABLE.sub(" ", text).split()
    if len(texts) <= 1:
        return [Word(text, quad, confidence) for text in texts]
    if runs_left(text):
        return _words_from_the_left(texts[::-1], quad, confidence)[::-1]
    return _words_from_the_left(texts, quad, confidence)


def _words_from_the_left(texts: Sequence[str], quad: Quad, confidence: float) -> list[Word]:
    """Words that share a quad from its start to its end, each by its length."""
    widths = [[max(1, sum(map(width_of, each))), width_of(" ")] for each in texts]
    edges = np.concatenate([[0], np.cumsum(np.ravel(widths)[:-1])]) if widths else np.zeros(1)
    edges = edges / max(1, edges[-1])
    top_left, top_right, bottom_right, bottom_left = quad
    top = top_left + edges[:, None] * (top_right - top_left)
    bottom = bottom_left + edges[:, None] * (bottom_right - bottom_left)
    return [
        Word(each, np.stack([top[i], top[i + 1], bottom[i + 1], bottom[i]]), confidence)
        for each, i in zip(texts, range(0, 2 * len(texts), 2), strict=True)
    ]


def _follows(quad: Quad, following: Quad) -> bool:
    """Whether the second quad goes on where the first ends, on the same line."""
    direction, height = _direction(quad), _height(quad)
    if direction @ _direction(following) < ALONG:
        return False
    if not 1 / _HEIGHTS <= _height(following) / max(height, 1e-9) <= _HEIGHTS:
        return False
    step = (following[0] + following[3] - quad[1] - quad[2]) / 2
    along, aside = step @ direction, step @ (-direction[1], direction[0])
    return bool(-_OVERLAP * height <= along <= _GAP * height and abs(aside) <= _ASIDE * height)


def _direction(quad: Quad) -> NDArray[np.float64]:
    along = quad[1] + quad[2] - quad[0] - quad[3]
    length = float(np.hypot(*along))
    return along / length if length else np.array([1.0, 0.0])


def _height(quad: Quad) -> float:
    return float(np.hypot(*(quad[3] + quad[2] - quad[0] - quad[1]))) / 2

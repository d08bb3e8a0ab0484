"""CTC: the steps of a recogniser → text. Greedy decode (Graves et al., 2006), and where in a line each word is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Floats

BLANK = 0
"""The class between two characters; class k > 0 is character k - 1 of the alphabet."""
REACH = 0.75
"""How far a line's text goes on behind the middle of its last character, in distances of two characters: half of one,
and half as much again as CTC may be off."""


@dataclass(frozen=True)
class Line:
    """What a recogniser read in one picture of a line.

    characters: k entries of its alphabet; confidence: of the whole line, from 0 to 1; probabilities: float32 [k], of
    each character; spans: integers [k, 2], the first step of each character and the one after its last.
    """

    characters: tuple[str, ...]
    confidence: float
    probabilities: Floats
    spans: NDArray[np.intp]

    @property
    def text(self) -> str:
        """The characters as one string."""
        return "".join(self.characters)


@dataclass(frozen=True)
class Word:
    """A word of a line: its text, the mean probability of its characters, and its place.

    start, end: where it begins and ends along the line, 0 the left end of the line's picture, 1 its right end.
    """

    text: str
    confidence: float
    start: float
    end: float


def decode(
    steps: Floats, alphabet: Sequence[str], *, logits: bool, confidence: Literal["mean", "product"]
) -> list[Line]:
    """The most probable class of each step, repeats and blanks left out → one Line for each picture of the batch.

    steps: float32 [n, t, classes]; class 0 is the blank, class k is `alphabet[k - 1]`. logits: whether the steps are
    logits, and not probabilities. confidence: "mean" of the probabilities of the characters, 0 without any (PP-OCR),
    or the "product" of the highest probability of every step, blanks included (deep-text-recognition-benchmark).

    Raises ValueError when there are not as many classes as the alphabet and the blank.
    """
    if steps.shape[2] != len(alphabet) + 1:
        raise ValueError(f"{steps.shape[2]} classes do not fit an alphabet of {len(alphabet)} and the blank")
    classes = steps.argmax(axis=2)
    highest = np.take_along_axis(steps, classes[..., None], axis=2)
    if logits:
        highest = 1 / np.exp(steps - highest).sum(axis=2, keepdims=True, dtype=np.float64)
    return lines(classes, highest[..., 0], alphabet, confidence)


def lines(
    classes: NDArray[np.intp], highest: Floats, alphabet: Sequence[str], confidence: Literal["mean", "product"]
) -> list[Line]:
    """As `decode`, from the best class of each step, integers [n, t], and its probability, float32 [n, t]."""
    return [_line(*pair, alphabet, confidence) for pair in zip(classes, highest, strict=True)]


def words(line: Line, steps: float, within: tuple[float, float] = (0.0, 1.0)) -> list[Word]:
    """The words of a line, cut at its white space.

    steps: how many of the t steps lie on the line, not on its padding: t * width / padded width; within: where the text
    begins and ends, see `ends`.

    CTC gives a character somewhere near its middle, not where it begins or ends. So a character is taken to reach half
    way to its neighbours, and the first and the last one to the ends of the text.
    """
    found = []
    for is_space, group in groupby(range(len(line.characters)), key=lambda i: line.characters[i].isspace()):
        if not is_space:
            inside = list(group)
            found.append((inside[0], inside[-1] + 1))
    return _pieces(line, found, steps, within)


def characters(line: Line, steps: float, within: tuple[float, float] = (0.0, 1.0)) -> list[Word]:
    """The characters of a line as words of one character each, white space left out; otherwise as `words`."""
    inside = [i for i, character in enumerate(line.characters) if not character.isspace()]
    return _pieces(line, [(i, i + 1) for i in inside], steps, within)


def ends(line: Line, steps: float) -> tuple[float, float]:
    """Where a line's text begins and ends, 0 to 1 along its picture, as far as its characters tell.

    It reaches REACH times the usual distance of two characters beyond the middles of the first and the last one, and no
    further than the picture. Fewer than three characters tell nothing.
    """
    middles = line.spans.mean(axis=1) / steps
    printed = [i for i, character in enumerate(line.characters) if not character.isspace()]
    if len(middles) < 3 or not printed:
        return 0.0, 1.0
    reach = REACH * float(np.median(np.diff(middles)))
    start, end = float(middles[printed[0]]) - reach, float(middles[printed[-1]]) + reach
    return min(max(start, 0.0), 1.0), min(max(end, 0.0), 1.0)


def _pieces(line: Line, ranges: Sequence[tuple[int, int]], steps: float, within: tuple[float, float]) -> list[Word]:
    """A Word of each range of characters, first and one after the last."""
    middles = line.spans.mean(axis=1)
    start, end = within
    cuts = np.clip(np.concatenate([[start], (middles[1:] + middles[:-1]) / 2 / steps, [end]]), start, end)
    return [
        Word(
            "".join(line.characters[first:after]),
            float(line.probabilities[first:after].mean()),
            float(cuts[first]),
            float(cuts[after]),
        )
        for first, after in ranges
    ]


def _line(
    classes: NDArray[np.intp],
    highest: NDArray[np.floating],
    alphabet: Sequence[str],
    confidence: Literal["mean", "product"],
) -> Line:
    edges = np.flatnonzero(np.diff(classes, prepend=-1, append=-1))
    spans = np.stack([edges[:-1], edges[1:]], axis=1)
    spans = spans[classes[spans[:, 0]] != BLANK]
    firsts = spans[:, 0]
    probabilities = highest[firsts].astype(np.float32)
    if confidence == "product":
        score = float(np.prod(highest, dtype=np.float64))
    else:
        score = float(probabilities.mean()) if len(probabilities) else 0.0
    return Line(tuple(alphabet[k - 1] for k in classes[firsts]), score, probabilities, spans)

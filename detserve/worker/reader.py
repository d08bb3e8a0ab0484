"""Reader: from the quads of a page to what they say, in batches sorted by width."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby

import numpy as np

from detserve.core.detections import Detections, Floats, Pixels
from detserve.engines.base import Engine
from detserve.models.spec import ReaderSpec
from detserve.text.crops import crop, cut, inset
from detserve.text.ctc import Line, Word, characters, ends, words
from detserve.text.direction import is_sideways, longest
from detserve.worker.lanes import Lanes

UNSURE = 0.85
"""A line that is read with less confidence than this is read upside down too, and the surer reading is kept.

Where most level lines are sure, they say which way is up: a level line is then read upside down only when it would be
dropped otherwise.
"""

LINES_OF_DIRECTION = 5
"""From so many lines it is found out which way a page lies."""
SURE = 0.95
"""A page whose lines are read with this confidence is not read upside down to see whether that is better."""
SHORT = 320
"""Inputs of a processor up to so many columns are read together, wider ones one by one: they gain nothing."""


@dataclass(frozen=True)
class ReadLine:
    """What a line says, and over how many of the recogniser's steps it lies."""

    line: Line
    steps: float


class Reader:
    """A recogniser on its engine."""

    def __init__(self, engine: Engine) -> None:
        assert isinstance(engine.spec, ReaderSpec), f"{engine.spec.name} does not read"
        self.engine = engine
        self.spec = engine.spec
        self.lanes = Lanes(engine)

    def __call__(
        self, rgb: Pixels, found: Detections, split: str = "lines", margin: float = 0.0, alone: bool = False
    ) -> Detections:
        """Detections with quads in pixels of `rgb` → the same, in the same order, with their texts.

        Detections in which nothing is read, or with less confidence than the recogniser's `conf`, are dropped. A quad
        starts at the top left of its text as it was read.

        split: "lines"; or "words" or "characters", which gives one detection for each of them, with its part of the
        line's quad and the line's score. margin: how much of a quad's height is blank above its text and below it; the
        parts have none of it, nor what is blank at the ends of the line. alone: whether the quads are lines by the
        caller's own word, and not a detector's: they may be cut close to their text, and are read whatever the
        confidence.
        """
        assert found.quads is not None, "only quads can be read"
        crops = [crop(rgb, quad) for quad in found.quads]
        least = self.spec.trained_width if alone else 0
        reads = self.read([text for text, _ in crops], least)
        quads = [quad for _, quad in crops]
        unsure = self._unsure(reads, [bool((a == b).all()) for a, b in zip(quads, found.quads, strict=True)])
        for i, turned in zip(unsure, self.read([crops[i][0][::-1, ::-1] for i in unsure], least), strict=True):
            if turned.line.confidence > reads[i].line.confidence:
                reads[i], quads[i] = turned, np.roll(quads[i], 2, axis=0)
        conf = 0.0 if alone else self.spec.conf
        rows = [i for i, read in enumerate(reads) if read.line.text.strip() and read.line.confidence >= conf]
        found = replace(found[rows], quads=np.array([quads[i] for i in rows], np.float32).reshape(-1, 4, 2))
        reads = [reads[i] for i in rows]
        if split == "lines":
            return _with_texts(found, [read.line for read in reads])
        return _split(found, reads, words if split == "words" else characters, margin)

    def direction(self, rgb: Pixels, quads: Floats) -> int:
        """By how many quarters counter-clockwise a picture must be turned for its text to be upright: 0 to 3.

        quads: float32 [n, 4, 2], the lines that were found on `rgb`. The longest of those that run as most do are read
        one way and, unless that is sure, the other way round; the way that is read with more confidence counts.
        """
        sideways = is_sideways(quads)
        texts = [crop(rgb, quad)[0] for quad in longest(quads, LINES_OF_DIRECTION, sideways)]
        one = sum(read.line.confidence for read in self.read(texts))
        if one < SURE * len(texts):
            other = sum(read.line.confidence for read in self.read([text[::-1, ::-1] for text in texts]))
            return int(sideways) + 2 * (other > one)
        return int(sideways)

    def _unsure(self, reads: Sequence[ReadLine], level: Sequence[bool]) -> list[int]:
        """The lines to be read upside down too, see UNSURE. level: for each line whether it runs across the picture."""
        confidences = [read.line.confidence for read in reads]
        sure = sum(confidence >= UNSURE for confidence, is_level in zip(confidences, level, strict=True) if is_level)
        limit = self.spec.conf if 2 * sure > sum(level) else UNSURE
        return [
            i
            for i, (confidence, is_level) in enumerate(zip(confidences, level, strict=True))
            if confidence < (limit if is_level else UNSURE)
        ]

    def read(self, texts: Sequence[Pixels], least: int = 0) -> list[ReadLine]:
        """Upright pictures of one line each, uint8 [h, w, 3] → what they say, in the same order.

        least: columns that an input has at least.
        """
        widths = [max(self.spec.width(text.shape[1] / text.shape[0]), least) for text in texts]
        by_width = sorted(range(len(texts)), key=widths.__getitem__)

        def read(engine: Engine, rows: Sequence[int]) -> list[ReadLine]:
            width = widths[rows[-1]]
            placed = [self.spec.place(texts[i], width) for i in rows]
            outputs = engine(np.stack([canvas for canvas, _ in placed]))
            steps = next(iter(outputs.values())).shape[1]
            lines = zip(self.spec.read(outputs), placed, strict=True)
            return [ReadLine(line, steps * filled / width) for line, (_, filled) in lines]

        batches = list(self._batches(by_width, widths))
        reads = self.lanes(read, batches)
        by_row = dict(zip(chain(*batches), chain(*reads), strict=True))
        return [by_row[i] for i in range(len(texts))]

    def _batches(self, by_width: Sequence[int], widths: Sequence[int]) -> Iterator[Sequence[int]]:
        """The lines of each call: as many as it takes, or where shapes count 1, 2 or 4 of one width, see SHORT."""
        groups = [by_width]
        if self.engine.shape_by_shape:
            groups = [list(rows) for _, rows in groupby(by_width, widths.__getitem__)]
        for rows in groups:
            start = 0
            while start < len(rows):
                count = min(self.engine.chunk, len(rows) - start)
                if self.engine.shape_by_shape:
                    count = 1 << count.bit_length() - 1 if widths[rows[start]] <= SHORT else 1
                yield rows[start : start + count]
                start += count


def _with_texts(found: Detections, lines: Sequence[Line]) -> Detections:
    confidences = np.array([line.confidence for line in lines], np.float32)
    return replace(found, texts=tuple(line.text for line in lines), text_scores=confidences)


def _split(
    found: Detections, reads: Sequence[ReadLine], parts_of: Callable[..., list[Word]], margin: float
) -> Detections:
    """One detection for each part of each line, see `Reader`."""
    assert found.quads is not None
    parts: list[list[Word]] = []
    quads: list[Floats] = [np.empty((0, 4, 2), np.float32)]
    for quad, read in zip(found.quads, reads, strict=True):
        parts.append(parts_of(read.line, read.steps, _within(quad, read, margin)))
        spans = np.array([[part.start, part.end] for part in parts[-1]], np.float32).reshape(-1, 2)
        quads.append(cut(inset(quad, margin), spans))
    split = Detections.of_quads(np.concatenate(quads), np.repeat(found.scores, [len(part) for part in parts]))
    flat = [part for line in parts for part in line]
    confidences = np.array([part.confidence for part in flat], np.float32)
    return replace(split, texts=tuple(part.text for part in flat), text_scores=confidences)


def _within(quad: Floats, read: ReadLine, margin: float) -> tuple[float, float]:
    """Where the text of a line begins and ends: not in the margin, which is as wide as it is high, nor far from its
    characters. A quad without a margin is filled to its ends."""
    if not margin:
        return 0.0, 1.0
    sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
    blank = min(margin * float(sides[1::2].mean() / max(float(sides[::2].mean()), 1.0)), 0.25)
    start, end = ends(read.line, read.steps)
    return min(max(start, blank), 1 - blank), max(min(end, 1 - blank), blank)

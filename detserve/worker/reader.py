"""Reader: from the quads of a page to what they say, in batches sorted by width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from detserve.core.detections import Detections, Floats, Pixels
from detserve.engines.base import Engine
from detserve.models.spec import ReaderSpec
from detserve.text.crops import crop, cut
from detserve.text.ctc import Line, words

UNSURE = 0.8
"""A line that is read with less confidence than this is read upside down too, and the surer reading is kept."""


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

    def __call__(self, rgb: Pixels, found: Detections, split_words: bool) -> Detections:
        """Detections with quads in pixels of `rgb` → the same, in the same order, with their texts.

        Detections in which nothing is read, or with less confidence than the recogniser's `conf`, are dropped. A quad
        starts at the top left of its text as it was read. split_words: give one detection for each word, with its part
        of the line's quad and the line's score.
        """
        assert found.quads is not None, "only quads can be read"
        crops = [crop(rgb, quad) for quad in found.quads]
        reads = self.read([text for text, _ in crops])
        quads = [quad for _, quad in crops]
        unsure = [i for i, read in enumerate(reads) if read.line.confidence < UNSURE]
        for i, turned in zip(unsure, self.read([crops[i][0][::-1, ::-1] for i in unsure]), strict=True):
            if turned.line.confidence > reads[i].line.confidence:
                reads[i], quads[i] = turned, np.roll(quads[i], 2, axis=0)
        rows = [i for i, read in enumerate(reads) if read.line.text.strip() and read.line.confidence >= self.spec.conf]
        found = replace(found[rows], quads=np.array([quads[i] for i in rows], np.float32).reshape(-1, 4, 2))
        reads = [reads[i] for i in rows]
        return _split(found, reads) if split_words else _with_texts(found, [read.line for read in reads])

    def read(self, texts: Sequence[Pixels]) -> list[ReadLine]:
        """Upright pictures of one line each, uint8 [h, w, 3] → what they say, in the same order."""
        reads: dict[int, ReadLine] = {}
        widths = [self.spec.width(text.shape[1] / text.shape[0]) for text in texts]
        by_width = sorted(range(len(texts)), key=widths.__getitem__)
        for start in range(0, len(texts), self.engine.chunk):
            rows = by_width[start : start + self.engine.chunk]
            width = widths[rows[-1]]
            placed = [self.spec.place(texts[i], width) for i in rows]
            outputs = self.engine(np.stack([canvas for canvas, _ in placed]))
            steps = next(iter(outputs.values())).shape[1]
            for i, line, (_, filled) in zip(rows, self.spec.read(outputs), placed, strict=True):
                reads[i] = ReadLine(line, steps * filled / width)
        return [reads[i] for i in range(len(texts))]


def _with_texts(found: Detections, lines: Sequence[Line]) -> Detections:
    confidences = np.array([line.confidence for line in lines], np.float32)
    return replace(found, texts=tuple(line.text for line in lines), text_scores=confidences)


def _split(found: Detections, reads: Sequence[ReadLine]) -> Detections:
    """One detection for each word."""
    assert found.quads is not None
    parts = [words(read.line, read.steps) for read in reads]
    quads = [
        cut(q, np.array([[w.start, w.end] for w in p], np.float32)) for q, p in zip(found.quads, parts, strict=True)
    ]
    every: Floats = np.concatenate([np.empty((0, 4, 2), np.float32), *quads])
    split = Detections.of_quads(every, np.repeat(found.scores, [len(part) for part in parts]))
    flat = [word for part in parts for word in part]
    confidences = np.array([word.confidence for word in flat], np.float32)
    return replace(split, texts=tuple(word.text for word in flat), text_scores=confidences)

"""Matching: the words that were found in a picture beside those that are there, as ICDAR 2015 counts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.words import Word
from detserve.models.east.decode import area, iou

IOU = 0.5
"""More than this much overlap is a match."""
COVERED = 0.5
"""A box more than this much of which lies in one ignored word is ignored itself."""
PUNCTUATION = "!?.:,*\"()·[]/'"
"""Characters that a true word may have lost at its ends."""


@dataclass(frozen=True)
class Tally:
    """How many words there were and were found, the ignored left out; matched: pairs of them, read: with one text."""

    there: int = 0
    found: int = 0
    matched: int = 0
    read: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.there + other.there, self.found + other.found, self.matched + other.matched, self.read + other.read
        )

    @property
    def precision(self) -> float:
        """The part of the found that is there."""
        return self.matched / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """The part of the there that is found."""
        return self.matched / self.there if self.there else 0.0

    @property
    def hmean(self) -> float:
        """Of precision and recall."""
        return _hmean(self.matched, self)

    @property
    def right(self) -> float:
        """The part of the matched that is read right."""
        return self.read / self.matched if self.matched else 0.0

    @property
    def end_to_end(self) -> float:
        """Hmean where only what is read right counts as found."""
        return _hmean(self.read, self)


def _hmean(hits: int, tally: Tally) -> float:
    # 2 p r / (p + r) with p = hits / found and r = hits / there
    return 2 * hits / (tally.found + tally.there) if hits else 0.0


def tally(found: Sequence[Word], there: Sequence[Word]) -> Tally:
    """The count of one picture by ICDAR 2015's task 1, and by its task 4 as to what is read.

    A found word goes, for better or worse, when more than half of its area lies in one that is ignored. The others are
    paired one to one, those that are there in their order, each with the first of the found whose IoU with it is more
    than 0.5. Quads must be convex and clockwise.
    """
    overlaps, covered = _overlaps(found, there)
    ignored = np.array([word.ignored for word in there], bool)
    counts = ~(covered[ignored] > COVERED).any(axis=0) if len(found) else np.zeros(0, bool)
    free = counts.copy()
    matched = read = 0
    for i in np.flatnonzero(~ignored):
        (pairs,) = np.nonzero(free & (overlaps[i] > IOU))
        if len(pairs):
            free[pairs[0]] = False
            matched += 1
            read += same(there[int(i)].text, found[int(pairs[0])].text)
    return Tally(int((~ignored).sum()), int(counts.sum()), matched, read)


def same(true: str, read: str) -> bool:
    """Whether a word is read right: in any case, and the true one's first and last character may be missing where they
    are punctuation."""
    true, read = true.upper(), read.upper()
    starts = {0, int(true[:1] in PUNCTUATION)} if true else {0}
    ends = {len(true), len(true) - int(true[-1:] in PUNCTUATION)} if true else {0}
    return any(true[start:end] == read for start in starts for end in ends if end > start or not true)


def _overlaps(found: Sequence[Word], there: Sequence[Word]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """IoU, and the part of a found word that lies in one that is there, each float64 [there, found]."""
    shape = len(there), len(found)
    if not all(shape):
        return np.zeros(shape), np.zeros(shape)
    a = np.repeat(np.array([word.quad for word in there]), len(found), axis=0)
    b = np.tile(np.array([word.quad for word in found]), (len(there), 1, 1))
    overlap = iou(a, b)
    # From the IoU: shared = iou (a + b) / (1 + iou).
    shared = overlap * (area(a) + area(b)) / (1 + overlap)
    own = area(b)
    inside = np.divide(shared, own, out=np.zeros_like(shared), where=own > 0)
    return overlap.reshape(shape), inside.reshape(shape)

"""Tracks: faces that are missed for a few frames between two sightings are put where they must have been.

A face is the same as one of an earlier frame where their boxes overlap, the most overlapping first. When it was not
seen in between, its box moves and grows evenly from the one sighting to the other. That is all: no motion is foreseen,
nobody is recognised, and a face that is never seen, or not again within GAP frames, is not covered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

GAP = 5
"""The most frames in a row in which a face may be missed."""
OVERLAP = 0.1
"""The least overlap (intersection over union) of a face with itself: low, because faces move while they are missed."""

Box = Sequence[float]
"""[cx, cy, w, h] in ratios of the frame."""
F = TypeVar("F")


@dataclass(frozen=True)
class Seen(Generic[F]):
    """A frame, the boxes found in it, and those of faces that were missed in it."""

    frame: F
    found: Sequence[Box]
    missed: list[Box] = field(default_factory=list)


@dataclass
class _Track:
    """A face: its last box, and the frame of it."""

    box: Box
    number: int


def bridged(frames: Iterable[tuple[F, Sequence[Box]]]) -> Iterator[Seen[F]]:
    """The frames in their order, each after at most GAP more have come, with what was missed filled in."""
    waiting: deque[Seen[F]] = deque()
    tracks: list[_Track] = []
    for number, (frame, found) in enumerate(frames):
        seen = Seen(frame, found)
        tracks = [track for track in tracks if number - track.number <= GAP + 1]
        matches = _matches(found, tracks)
        for i, track in matches.items():
            gap = number - track.number - 1
            for step in range(1, gap + 1):
                waiting[-step].missed.append(_between(found[i], track.box, step / (gap + 1)))
            track.box, track.number = found[i], number
        tracks += [_Track(box, number) for i, box in enumerate(found) if i not in matches]
        waiting.append(seen)
        if len(waiting) > GAP:
            yield waiting.popleft()
    yield from waiting


def _matches(found: Sequence[Box], tracks: Sequence[_Track]) -> dict[int, _Track]:
    """The number of a box → its track; each track at most once, the most overlapping first."""
    pairs = [(_overlap(box, track.box), i, j) for i, box in enumerate(found) for j, track in enumerate(tracks)]
    matches: dict[int, _Track] = {}
    taken = set()
    for overlap, i, j in sorted(pairs, reverse=True):
        if overlap >= OVERLAP and i not in matches and j not in taken:
            matches[i] = tracks[j]
            taken.add(j)
    return matches


def _between(box: Box, other: Box, share: float) -> Box:
    """The box that has gone that share of the way to another."""
    return [a + (b - a) * share for a, b in zip(box, other, strict=True)]


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)

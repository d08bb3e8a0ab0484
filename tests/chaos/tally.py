"""Hits of a load, and what became of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import NamedTuple, Self

NO_CONNECTION = 0
"""In the place of a status: nobody listened."""
NO_ANSWER = -1
"""In the place of a status: there was a connection, and no answer came over it."""


class Hit(NamedTuple):
    """One request: when it was begun, when its last byte was sent, when it ended, in seconds of time.monotonic()."""

    begun: float
    sent: float
    ended: float
    status: int
    """Of HTTP, or NO_CONNECTION, or NO_ANSWER."""
    picture: int
    """Its number among those of the load."""


@dataclass(frozen=True)
class Tally:
    """What became of requests. Each is one of: answered 200, rejected 4xx, refused 503 or without a connection,
    failed with another status, lost without an answer over its connection."""

    sent: int
    answered: int = 0
    rejected: int = 0
    refused: int = 0
    failed: int = 0
    lost: int = 0

    def __post_init__(self) -> None:
        if self.sent != self.answered + self.rejected + self.refused + self.failed + self.lost:
            raise ValueError(f"these do not add up: {self}")

    @classmethod
    def of(cls, hits: Iterable[Hit]) -> Self:
        kinds = [kind_of(hit.status) for hit in hits]
        return cls(len(kinds), *(kinds.count(name) for name in ("answered", "rejected", "refused", "failed", "lost")))

    def __add__(self, other: Self) -> Self:
        return type(self)(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        counts = (f"{name} {count:,}" for name, count in vars(self).items())
        return ", ".join(counts)


def kind_of(status: int) -> str:
    """The name of the count in a Tally that a status belongs to."""
    if status == NO_ANSWER:
        return "lost"
    if status in (NO_CONNECTION, 503):
        return "refused"
    return {2: "answered", 4: "rejected"}.get(status // 100, "failed")

"""Pacer: when hits are due. These are pure functions of time: nothing here sends or waits."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

SEED = 1
"""The same arrivals at every run, so that all targets see the same load."""


@dataclass(frozen=True)
class Closed:
    """A closed loop: `concurrency` callers, each of which sends its next hit when its last one is answered."""

    concurrency: int

    def callers(self, share: int, shares: int) -> int:
        """How many of the callers belong to one of `shares` load processes."""
        return self.concurrency // shares + (share < self.concurrency % shares)

    def __str__(self) -> str:
        return f"concurrency {self.concurrency}"


@dataclass(frozen=True)
class Open:
    """An open loop: `rate` hits a second arrive, whether the earlier ones are answered or not.

    arrivals: "poisson", as from independent users, or "constant", equally spaced.
    """

    rate: float
    arrivals: str = "poisson"

    def due(self, share: int, shares: int) -> Iterator[float]:
        """The moments of one of `shares` load processes, in seconds since the start; without end."""
        if self.arrivals == "constant":
            return (n / self.rate for n in itertools.count(share, shares))
        # Independent Poisson streams add up to one of the sum of their rates.
        gaps = random.Random(SEED * 1000 + share)
        mine = self.rate / shares
        return itertools.accumulate(gaps.expovariate(mine) for _ in itertools.count())

    def __str__(self) -> str:
        return f"rate {self.rate:g}/s"


@dataclass(frozen=True)
class Surge(Open):
    """An open loop at `rate` that begins with `surge` hits a second, for the first `seconds`."""

    surge: float = 0.0
    seconds: float = 0.0

    def due(self, share: int, shares: int) -> Iterator[float]:
        """The moments of one of `shares` load processes, in seconds since the start; without end."""
        first = Open(self.surge, self.arrivals).due(share, shares)
        after = Open(self.rate, self.arrivals).due(share, shares)
        return itertools.chain(
            itertools.takewhile(lambda moment: moment < self.seconds, first),
            (self.seconds + moment for moment in after),
        )

    def __str__(self) -> str:
        return f"rate {self.surge:g}/s for {self.seconds:g} s, then {self.rate:g}/s"


Load = Closed | Open

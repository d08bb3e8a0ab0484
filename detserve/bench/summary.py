"""Summary: from hits to the figures of a load. Moments are in seconds, latencies in milliseconds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detserve.bench.pacer import Load

OK = "200"
NAN = float("nan")


class Hit(NamedTuple):
    """One hit. due, end: when it was due and when its answer came, in seconds of time.monotonic().

    status, stages: see `Outcome`. A hit of an open loop is due when it was scheduled, even if it was sent later: its
    wait in the load generator, or in the server's queue, counts.
    """

    due: float
    end: float
    status: str
    stages: Mapping[str, float]


@dataclass(frozen=True)
class Run:
    """A load and its hits, those of the warm-up included.

    start, end: the moments between which it is measured; cpu: processor seconds of the load processes, and seconds:
    how long they ran, warm-up and the wait for the last answers included.
    """

    load: Load
    start: float
    end: float
    hits: Sequence[Hit]
    cpu: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Summary:
    """The figures of one load.

    seconds: how long it was measured; hits: how many were due in that time; rate: pictures answered a second; p50, p90,
    p99, max: milliseconds of the answered hits, NaN when none was; errors: hits of every other status; client_cpu:
    processors that the load generator kept busy; stages: mean milliseconds inside the server.
    """

    load: Load
    seconds: float
    hits: int
    rate: float
    p50: float = NAN
    p90: float = NAN
    p99: float = NAN
    max: float = NAN
    errors: Mapping[str, int] = field(default_factory=dict)
    client_cpu: float = NAN
    stages: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run) -> Summary:
        """The figures of a run, or of a run so far.

        The rate counts the answers that came in the measured time. The latencies are those of the hits that were due in
        it. Neither depends on when the other hits end.
        """
        seconds = run.end - run.start
        answered = sum(hit.status == OK and run.start <= hit.end < run.end for hit in run.hits)
        due = [hit for hit in run.hits if run.start <= hit.due < run.end]
        good = [hit for hit in due if hit.status == OK]
        latencies = np.array([hit.end - hit.due for hit in good]) * 1000
        return cls(
            run.load,
            seconds,
            len(due),
            answered / seconds if seconds > 0 else NAN,
            *percentiles(latencies),
            errors=dict(Counter(hit.status for hit in due if hit.status != OK)),
            client_cpu=run.cpu / run.seconds if run.seconds else NAN,
            stages=_means([hit.stages for hit in good]),
        )


def percentiles(latencies: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """p50, p90, p99 and the largest of milliseconds [n]; NaN for n = 0."""
    if not len(latencies):
        return NAN, NAN, NAN, NAN
    p50, p90, p99, largest = np.percentile(latencies, (50, 90, 99, 100))
    return float(p50), float(p90), float(p99), float(largest)


def _means(stages: Sequence[Mapping[str, float]]) -> dict[str, float]:
    told = [each for each in stages if each]
    return {name: float(np.mean([each[name] for each in told])) for name in (told[0] if told else ())}


MIN_ANSWERS = 500
"""With fewer answers a p99 is not taken for stable."""
TOLERANCE = 0.1


def settled(run: Run) -> bool:
    """Whether p99 is the same to a tenth in both halves of the run so far, with enough answers in each.

    A queue that grows never settles.
    """
    middle = (run.start + run.end) / 2
    first = Summary.of(Run(run.load, run.start, middle, run.hits))
    second = Summary.of(Run(run.load, middle, run.end, run.hits))
    enough = min(first.rate, second.rate) * (run.end - middle) >= MIN_ANSWERS
    return enough and math.isclose(first.p99, second.p99, rel_tol=TOLERANCE)

"""Limit: the highest rate at which a target's p99 stays below a bound."""

from __future__ import annotations

from collections.abc import Callable

from detserve.bench.pacer import Closed, Load, Open
from detserve.bench.summary import Summary

CALLERS = 16
"""The callers of the closed loop that finds the target's capacity."""
PRECISION = 0.04
"""The limit is found to within this part of it."""
HOPELESS = 0.02
"""Below this part of the capacity the search gives up."""


def find_limit(measure: Callable[[Load], Summary], p99: float, arrivals: str) -> Summary | None:
    """The summary of the highest rate whose p99 stays within `p99` milliseconds, with no error.

    Bisects below the capacity of a closed loop. A rate that fails is tried once more: one hiccup of the machine is not
    the target's limit. None when no rate holds.
    """
    low, high = 0.0, measure(Closed(CALLERS)).rate * (1 + PRECISION)
    least, best = high * HOPELESS, None
    while high > least and high - low > PRECISION * high:
        middle = (low + high) / 2
        load = Open(float(f"{middle:.3g}"), arrivals)
        held = next((summary for summary in map(measure, (load, load)) if holds(summary, p99)), None)
        if held:
            low, best = middle, held
        else:
            high = middle
    return best


def holds(summary: Summary, p99: float) -> bool:
    """Whether every hit was answered, and p99 is within that many milliseconds."""
    return not summary.errors and summary.p99 <= p99

"""Limit: the highest rate at which a target keeps its promise."""

from __future__ import annotations

from collections.abc import Callable

from detserve.bench.pacer import Closed, Load, Open
from detserve.bench.summary import Summary

CALLERS = 16
"""Of the closed loop that finds how much the target answers at most."""
PRECISION = 0.04
"""The limit is found to this part of it."""
HOPELESS = 0.02
"""The search ends at this part of the capacity."""


def find_limit(measure: Callable[[Load], Summary], p99: float, arrivals: str) -> Summary | None:
    """The measured load of the highest rate whose p99 stays below that many milliseconds, with no error.

    Bisects below the capacity of a closed loop. A rate that does not hold is tried again: one hiccup of the machine
    is not the target's limit. None when no rate holds.
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
    """Whether all was answered, and p99 within that many milliseconds."""
    return not summary.errors and summary.p99 <= p99

"""Schedules are pure functions of time."""

from itertools import takewhile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve.bench.pacer import Closed, Open

RATES = st.floats(0.5, 5000)
SHARES = st.integers(1, 9)


def first(load: Open, share: int, shares: int, count: int) -> list[float]:
    return [due for due, _ in zip(load.due(share, shares), range(count), strict=False)]


@given(RATES, SHARES)
def test_constant_arrivals_of_all_processes_are_equally_spaced(rate: float, shares: int) -> None:
    load = Open(rate, "constant")
    together = sorted(due for share in range(shares) for due in first(load, share, shares, 20))
    assert together == pytest.approx(np.arange(20 * shares) / rate)


@given(RATES, SHARES)
def test_poisson_arrivals_grow_and_are_the_same_at_every_run(rate: float, shares: int) -> None:
    load = Open(rate)
    for share in range(shares):
        due = first(load, share, shares, 50)
        assert due == sorted(due)
        assert due[0] > 0
        assert due == first(load, share, shares, 50)


@pytest.mark.parametrize("shares", [1, 3])
def test_poisson_arrivals_have_their_rate_and_their_spread(shares: int) -> None:
    load, seconds = Open(100.0), 200.0
    due = sorted(d for share in range(shares) for d in takewhile(lambda t: t < seconds, load.due(share, shares)))
    # 20,000 arrivals: their count varies by 141, and gaps of a Poisson stream are as wide as they are long.
    assert len(due) == pytest.approx(20_000, abs=600)
    gaps = np.diff(due)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)


def test_processes_do_not_send_at_the_same_moments() -> None:
    load = Open(100.0)
    assert not set(first(load, 0, 2, 100)) & set(first(load, 1, 2, 100))


@given(st.integers(1, 100), SHARES)
def test_callers_are_spread_evenly(concurrency: int, shares: int) -> None:
    callers = [Closed(concurrency).callers(share, shares) for share in range(shares)]
    assert sum(callers) == concurrency
    assert max(callers) - min(callers) <= 1

"""The search for the highest rate, on servers whose capacity is known."""

from collections.abc import Callable
from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detserve.bench.limit import find_limit, holds
from detserve.bench.pacer import Closed, Load, Open
from detserve.bench.runner import Runner, Timing
from detserve.bench.summary import Hit, Run, Summary
from detserve.bench.target import HttpTarget


def queue(service: float, seconds: float = 20.0) -> Callable[[Load], Summary]:
    """A server with one worker that takes so many seconds for each: what would be measured of it."""

    def measure(load: Load) -> Summary:
        if isinstance(load, Closed):
            return Summary(load, seconds, 1, 1 / service, *[load.concurrency * service * 1000] * 4)
        hits, free = [], 0.0
        for due in takewhile(lambda due: due < seconds, load.due(0, 1)):
            free = max(free, due) + service
            hits.append(Hit(due, free, "200", {}))
        return Summary.of(Run(load, 0, seconds, hits))

    return measure


@given(st.floats(0.002, 0.02))
@settings(max_examples=20, deadline=None)
def test_with_constant_arrivals_the_limit_is_the_capacity(service: float) -> None:
    found = find_limit(queue(service), 3 * service * 1000, "constant")
    assert found is not None
    assert isinstance(found.load, Open)
    assert found.load.rate * service == pytest.approx(1, abs=0.06)


@given(st.floats(2, 30))
@settings(max_examples=20, deadline=None)
def test_what_is_found_holds_and_a_little_more_does_not(bound: float) -> None:
    measure = queue(0.005)
    found = find_limit(measure, bound * 5, "poisson")
    assert found is not None
    assert isinstance(found.load, Open)
    assert found.p99 <= bound * 5
    assert not holds(measure(Open(found.load.rate * 1.15)), bound * 5)


def test_a_looser_bound_allows_a_higher_rate() -> None:
    tight, loose = (find_limit(queue(0.005), bound, "poisson") for bound in (10, 50))
    assert tight is not None
    assert loose is not None
    assert tight.rate < loose.rate


def test_a_bound_below_the_service_time_has_no_limit() -> None:
    assert find_limit(queue(0.005), 4, "poisson") is None


def test_errors_do_not_hold_however_fast() -> None:
    assert not holds(Summary(Closed(1), 1, 9, 9, 1, 1, 1, 1, errors={"503": 1}), 50)


def test_one_hiccup_is_not_the_limit() -> None:
    honest, tries = queue(0.005), set()

    def measure(load: Load) -> Summary:
        if load not in tries and isinstance(load, Open):
            tries.add(load)
            return honest(Open(1000))
        return honest(load)

    found = find_limit(measure, 15, "constant")
    assert found is not None
    assert found.rate > 180


@pytest.mark.slow
@pytest.mark.timed
def test_the_limit_of_a_real_server(fake_server) -> None:
    with Runner(HttpTarget(fake_server(seconds=0.01, slots=2).url), [b"picture"], 1) as runner:
        found = find_limit(lambda load: Summary.of(runner.run(load, Timing(0.1, 1.0))), 40, "constant")
    assert found is not None
    assert 120 < found.rate < 210  # two at a time, a little over 10 ms each

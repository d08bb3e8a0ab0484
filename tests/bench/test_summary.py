"""Figures from hits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve.bench.pacer import Closed
from detserve.bench.summary import Hit, Run, Summary, settled

LOAD = Closed(1)


def hit(due: float, ms: float, status: str = "200", **stages: float) -> Hit:
    return Hit(due, due + ms / 1000, status, stages)


@given(st.lists(st.floats(0.1, 5000), min_size=1, max_size=300))
def test_percentiles_are_those_of_numpy(latencies: list[float]) -> None:
    summary = Summary.of(Run(LOAD, 0, 1, [hit(0.5, ms) for ms in latencies]))
    wanted = np.percentile(latencies, [50, 90, 99, 100])
    assert (summary.p50, summary.p90, summary.p99, summary.max) == pytest.approx(tuple(wanted), abs=1e-6)


@given(st.lists(st.sampled_from(["200", "503", "timeout"]), max_size=60))
def test_every_hit_is_either_answered_or_an_error(statuses: list[str]) -> None:
    summary = Summary.of(Run(LOAD, 0, 2, [hit(0.5, 10, status) for status in statuses]))
    assert summary.hits == len(statuses)
    assert sum(summary.errors.values()) == len(statuses) - statuses.count("200")
    assert summary.rate == statuses.count("200") / 2
    assert "200" not in summary.errors


def test_errors_leave_no_trace_in_the_latencies() -> None:
    summary = Summary.of(Run(LOAD, 0, 1, [hit(0.1, 20), hit(0.2, 1, "503"), hit(0.3, 9000, "timeout")]))
    assert summary.p50 == summary.max == pytest.approx(20)
    assert summary.errors == {"503": 1, "timeout": 1}


def test_the_rate_counts_answers_in_the_window_and_latencies_hits_due_in_it() -> None:
    warm = hit(0.9, 300)  # due in the warm-up, answered in the window
    late = hit(1.9, 500)  # due in the window, answered after it
    summary = Summary.of(Run(LOAD, 1, 2, [warm, hit(1.2, 100), late]))
    assert summary.rate == 2
    assert summary.hits == 2
    assert (summary.p50, summary.max) == pytest.approx((300, 500))


def test_of_nothing_there_are_no_figures() -> None:
    summary = Summary.of(Run(LOAD, 0, 1, []))
    assert summary.rate == 0
    assert all(math.isnan(value) for value in (summary.p50, summary.p99, summary.max))


def test_stages_are_means_over_the_answers_that_tell_them() -> None:
    hits = [hit(0.1, 9, decode=1, infer=4), hit(0.2, 9, decode=3, infer=6), hit(0.3, 9), hit(0.4, 1, "422", decode=99)]
    assert Summary.of(Run(LOAD, 0, 1, hits)).stages == {"decode": 2, "infer": 5}


def test_client_cpu_is_in_processors() -> None:
    assert Summary.of(Run(LOAD, 0, 1, [], cpu=1.5, seconds=3.0)).client_cpu == 0.5


def at(rate: int, seconds: float, latency: float, growth: float = 0) -> list[Hit]:
    return [hit(i / rate, latency + growth * i / rate) for i in range(int(rate * seconds))]


def test_a_steady_p99_settles_when_there_are_enough_answers() -> None:
    assert settled(Run(LOAD, 0, 10, at(200, 10, 20)))
    assert not settled(Run(LOAD, 0, 2, at(200, 2, 20)))


def test_a_growing_queue_never_settles() -> None:
    assert not settled(Run(LOAD, 0, 10, at(200, 10, 20, growth=50)))

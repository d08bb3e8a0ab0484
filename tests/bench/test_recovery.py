"""Recovery: when latency is normal again, by arithmetic, and on a server whose queue is known."""

import itertools
from collections.abc import Callable

import pytest

from benchmarks import recovery
from detserve.bench.pacer import Open, Surge
from detserve.bench.runner import Runner
from detserve.bench.summary import Hit, Run
from detserve.bench.target import HttpTarget
from tests.bench.conftest import FakeServer

LIGHT = Open(10, "constant")


def run(latencies: list[float], status: str = "200") -> Run:
    """Ten hits a second from 100 s on, with these latencies in seconds; the first has that status."""
    hits = [Hit(100 + i / 10, 100 + i / 10 + each, status if i == 0 else "200", {}) for i, each in enumerate(latencies)]
    return Run(LIGHT, 100.0, 100 + len(latencies) / 10, hits)


@pytest.mark.parametrize(
    ("latencies", "status", "seconds"),
    [
        ([0.01] * 20, "200", 0.0),
        ([0.01] * 20, "503", 0.5),
        ([0.3] * 10 + [0.01] * 10, "200", 1.0),
        ([0.3] * 5 + [0.01] * 5 + [0.3] * 5 + [0.01] * 15, "200", 1.5),
        ([0.3] + [0.01] * 19, "200", 0.0),
        ([0.3] * 20, "200", None),
    ],
)
def test_normal_is_a_second_of_answers_as_fast_as_before(
    latencies: list[float], status: str, seconds: float | None
) -> None:
    assert recovery.normal_after(run(latencies, status), 100.0, 20.0) == seconds


def test_a_surge_is_two_open_loops_one_after_the_other() -> None:
    moments = Surge(2, "constant", 4, 1.5).due(0, 1)
    assert [next(moments) for _ in range(9)] == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5]
    shares = [Surge(2, "poisson", 400, 2.0).due(share, 2) for share in (0, 1)]
    arrivals = sorted(moment for each in shares for moment in itertools.takewhile(lambda m: m < 12, each))
    assert 700 < sum(moment < 2 for moment in arrivals) < 900
    assert 8 < sum(moment >= 2 for moment in arrivals) < 40


@pytest.mark.slow
@pytest.mark.timed
def test_a_server_with_a_queue_needs_as_long_as_the_queue(fake_server: Callable[..., FakeServer]) -> None:
    """One slot of 20 ms: 2 s at twice its rate leave 100 in the queue, which take 2.5 s beside the light load."""
    slow = fake_server(seconds=0.02, slots=1)
    with Runner(HttpTarget(slow.url), [b"picture"], 1) as runner:
        found = recovery.measure(runner, overload=2.0, light=6.0)
    assert found.seconds is not None and 1.0 <= found.seconds <= 4.5
    assert found.before.p50 < found.overload.p50


def test_a_server_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert recovery.main(["--url", "http://127.0.0.1:9"]) == 1
    assert "make serve starts a server" in capsys.readouterr().err

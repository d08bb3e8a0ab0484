"""Load processes against a real server on loopback."""

import time
from collections import Counter

import pytest

from detserve.bench.pacer import Closed, Open
from detserve.bench.runner import Runner, Timing
from detserve.bench.summary import Summary, settled
from detserve.bench.target import HttpTarget
from detserve.errors import SetupError

pytestmark = pytest.mark.timed

PICTURES = [b"first", b"second"]


def measure(url: str, load: Closed | Open, timing: Timing, processes: int = 1, timeout: float = 30.0) -> Summary:
    with Runner(HttpTarget(url, timeout=timeout), PICTURES, processes) as runner:
        return Summary.of(runner.run(load, timing))


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_closed_loop_keeps_as_many_in_flight_as_it_has_callers(fake_server, processes: int) -> None:
    summary = measure(fake_server(seconds=0.02).url, Closed(4), Timing(0.2, 1.0), processes)
    assert 20 <= summary.p50 < 60
    assert summary.rate == pytest.approx(4 / (summary.p50 / 1000), rel=0.3)
    assert summary.errors == {}
    assert 0 < summary.client_cpu < 2
    assert summary.stages == {"decode": 1.5, "infer": 8.25}


def test_pictures_are_sent_in_turn_or_one_alone(fake_server) -> None:
    server = fake_server(seconds=0.002)
    with Runner(HttpTarget(server.url, token="secret"), PICTURES, 1) as runner:
        assert runner.probe().ok
        assert server.bodies == [b"first"]
        assert "Authorization: Bearer secret" in server.heads[0]
        runner.run(Closed(1), Timing(0, 0.2))
        counts = Counter(server.bodies)
        assert abs(counts[b"first"] - counts[b"second"]) <= 2
        server.bodies.clear()
        runner.run(Closed(1), Timing(0, 0.2), only=1)
        assert set(server.bodies) == {b"second"}


@pytest.mark.parametrize("arrivals", ["constant", pytest.param("poisson", marks=pytest.mark.slow)])
def test_an_open_loop_sends_at_its_rate_whatever_is_answered(fake_server, arrivals: str) -> None:
    summary = measure(fake_server(seconds=0.3).url, Open(100, arrivals), Timing(0.2, 1.5), processes=2)
    assert summary.hits == pytest.approx(150, abs=4 if arrivals == "constant" else 45)
    assert 300 <= summary.p50 < 400


def test_an_open_loop_counts_latency_from_the_schedule(fake_server) -> None:
    """A server of 50 a second that is sent 100: its queue grows by half a second each second."""
    summary = measure(fake_server(seconds=0.02, slots=1).url, Open(100, "constant"), Timing(0, 1.0))
    assert summary.hits == pytest.approx(100, abs=2)
    assert summary.max == pytest.approx(1000, rel=0.25)
    assert summary.p50 == pytest.approx(500, rel=0.25)
    closed = measure(fake_server(seconds=0.02, slots=1).url, Closed(1), Timing(0, 1.0))
    assert closed.max < 250


def test_the_wait_for_a_connection_is_counted_too(fake_server) -> None:
    server = fake_server(seconds=0.005)
    # More arrivals at once than a load process opens connections for: the last ones wait in it.
    summary = measure(server.url, Open(20_000, "constant"), Timing(0, 0.1))
    assert summary.hits == pytest.approx(2000, abs=20)
    assert summary.errors == {}
    assert summary.max > 20


def test_errors_are_results(fake_server) -> None:
    server = fake_server(seconds=0.005, status=lambda n: 503 if n % 4 == 0 else 200)
    summary = measure(server.url, Closed(2), Timing(0, 1.0))
    assert set(summary.errors) == {"503"}
    assert summary.errors["503"] == pytest.approx(summary.hits / 4, abs=3)


@pytest.mark.slow
def test_what_does_not_answer_times_out(fake_server) -> None:
    summary = measure(fake_server(seconds=5).url, Open(20, "constant"), Timing(0, 0.5), timeout=0.3)
    assert summary.errors == {"timeout": summary.hits}
    assert summary.rate == 0


def test_a_server_that_is_down_is_not_hit_in_a_spin() -> None:
    summary = measure("http://127.0.0.1:9/", Closed(1), Timing(0, 0.5))
    assert set(summary.errors) == {"no connection"}
    assert summary.hits <= 60


def test_a_run_is_watched_and_ends_when_the_watcher_says_so(fake_server) -> None:
    seen = []

    def watch(run) -> bool:
        seen.append(Summary.of(run))
        return settled(run)

    start = time.monotonic()
    with Runner(HttpTarget(fake_server(seconds=0.001).url), PICTURES, 1) as runner:
        run = runner.run(Closed(8), Timing(0.2, 30), watch)
    assert time.monotonic() - start < 20
    assert len(seen) >= 1
    assert Summary.of(run).hits >= 1000


def test_a_target_that_does_not_open_says_why() -> None:
    with pytest.raises(SetupError, match="no http:// URL"), Runner(HttpTarget("ftp://x"), PICTURES, 2):
        pass

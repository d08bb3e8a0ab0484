"""More requests than the queue holds: what it holds is answered, the rest is refused at once."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import pytest

from detserve.places import CONFIG_DIR
from tests.chaos.conftest import BATCH, WORKERS, until
from tests.harness.load import Caller, Hit, Tally, hit_once
from tests.harness.server import Server

QUEUE = int((CONFIG_DIR / "config.properties").read_text().partition("job_queue_size=")[2].split()[0])
SENT = 3 * QUEUE


def pending(server: Server) -> int:
    return server.describe("fd1")["jobQueueStatus"]["pendingRequests"]


def latency(server: Server, photo: bytes) -> float:
    """Seconds of one request alone, the median of nine."""
    with Caller(server.port, "fd1") as caller:
        hits = [caller.hit(photo) for _ in range(9)]
    assert {hit.status for hit in hits} == {200}
    return median(hit.ended - hit.begun for hit in hits)


def flood(server: Server, photo: bytes) -> list[Hit]:
    """As many requests at once as fill the queue three times, while the workers stand still."""
    pids = server.pids("fd1")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(SENT) as pool:
            running = [pool.submit(hit_once, server.port, "fd1", photo) for _ in range(SENT)]
            until(lambda: sum(hit.done() for hit in running) >= SENT - QUEUE - WORKERS * BATCH, 30)
            assert pending(server) == QUEUE
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            return [hit.result() for hit in running]
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("rounds", [pytest.param(1, id="short"), pytest.param(10, id="long", marks=pytest.mark.long)])
def test_what_does_not_fit_the_queue_is_refused_at_once_and_the_rest_answered(
    server: Server, photo: bytes, rounds: int
) -> None:
    before = latency(server, photo)
    pids = server.pids("fd1")
    hits = []
    for _ in range(rounds):
        hits += flood(server, photo)
    ended = time.monotonic()
    while (after := latency(server, photo)) > 3 * before + 0.01:
        assert time.monotonic() - ended < 2, f"{after * 1e3:.1f} ms, {before * 1e3:.1f} ms before"
    tally = Tally.of(hits)
    print(f"\nqueue of {QUEUE} filled {rounds} times: {tally}")
    assert tally.lost == tally.failed == tally.rejected == 0
    assert {hit.status for hit in hits} == {200, 503}
    # Beyond the queue each worker has one request in its hands, or a batch.
    assert QUEUE + WORKERS <= tally.answered / rounds <= QUEUE + WORKERS * BATCH
    refusals = sorted(hit.ended - hit.sent for hit in hits if hit.status == 503)
    assert refusals[len(refusals) // 2] < 1, "a refusal waits for something"
    assert server.pids("fd1") == pids

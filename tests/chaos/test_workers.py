"""A worker is killed under load: what it had in its hands fails, nothing else."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.chaos.conftest import BATCH, at_full_strength, until
from tests.harness.load import NO_ANSWER, Load, Tally
from tests.harness.server import Server

RECOVERY_SECONDS = 10.0
"""Until all workers are ready again, where the whole server is ready in a third of that."""
LOAD = {"callers": 8, "think": 0.05}
"""Some load, not all that the machine can bear: a worker needs seconds of a core to start."""
ROUNDS = [pytest.param(1, id="short"), pytest.param(10, id="long", marks=pytest.mark.long)]


@pytest.mark.parametrize("rounds", ROUNDS)
def test_only_what_the_killed_worker_had_in_its_hands_fails(server: Server, photo: bytes, rounds: int) -> None:
    took = []
    patience = max(RECOVERY_SECONDS, 3 * server.ready_seconds)
    meanwhile = 0
    moment = random.Random(1)
    with Load(server.port, "fd1", [photo], **LOAD) as load:
        for _ in range(rounds):
            time.sleep(moment.uniform(0.5, 1.0))
            killed, *others = server.pids("fd1")
            begin = time.monotonic()
            os.kill(killed, signal.SIGKILL)
            until(lambda gone=killed: gone not in server.pids("fd1") or not at_full_strength(server), 5)
            until(lambda gone=killed: at_full_strength(server) and gone not in server.pids("fd1"), patience)
            took.append(time.monotonic() - begin)
            assert set(others) <= set(server.pids("fd1")), "a worker ended that was not killed"
            meanwhile += sum(hit.begun > begin and hit.status == 200 for hit in list(load.hits))
            time.sleep(0.5)
    tally = Tally.of(load.hits)
    print(f"\nkilled {rounds} workers: {tally}; back after {max(took):.1f} s at most")
    assert tally.lost == tally.refused == tally.rejected == 0
    assert tally.failed <= BATCH * rounds
    assert {hit.status for hit in load.hits} <= {200, 500, 507}
    assert meanwhile > 10 * rounds, "the other worker did not go on"


@pytest.mark.slow
def test_with_no_worker_left_requests_wait_for_the_next(server: Server, photo: bytes) -> None:
    with Load(server.port, "fd1", [photo], **LOAD) as load:
        time.sleep(0.5)
        pids = server.pids("fd1")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        patience = max(RECOVERY_SECONDS, 3 * server.ready_seconds)
        until(lambda: at_full_strength(server) and not set(pids) & set(server.pids("fd1")), patience)
        time.sleep(0.5)
    tally = Tally.of(load.hits)
    print(f"\nkilled all workers: {tally}")
    assert tally.lost == tally.refused == tally.rejected == 0
    assert tally.failed <= BATCH * len(pids)
    assert NO_ANSWER not in {hit.status for hit in load.hits}

"""SIGTERM under load: what the server had taken is answered, then nothing of it is left."""

from __future__ import annotations

import resource
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.chaos.conftest import WORKERS
from tests.harness.load import NO_CONNECTION, Load, Tally
from tests.harness.server import serving

MARGIN = 0.25
"""Seconds that a connection may wait in the kernel before TorchServe accepts it."""


def moment_of_closing(java: psutil.Process) -> float:
    """Wait until TorchServe accepts no more connections, which is when it may open no more files → the moment."""
    while java.rlimit(resource.RLIMIT_NOFILE)[0] > 0:
        time.sleep(0.005)
    return time.monotonic()


@pytest.mark.parametrize(
    "rounds", [pytest.param(1, id="short", marks=pytest.mark.slow), pytest.param(10, id="long", marks=pytest.mark.long)]
)
def test_every_accepted_request_is_answered(store: Path, tmp_path: Path, photo: bytes, rounds: int) -> None:
    ends = [end_under_load(store, tmp_path / str(number), photo) for number in range(rounds)]
    print(f"\nSIGTERM under load, {rounds} times")
    for what, tallies in zip(("sent before it", "accepted after it", "too late"), zip(*ends, strict=True), strict=True):
        print(f"  {what}: {sum(tallies, Tally(0))}")


def end_under_load(store: Path, run_dir: Path, photo: bytes) -> tuple[Tally, Tally, Tally]:
    """→ what became of the hits that were sent before SIGTERM, accepted after it, and came too late.

    Accepted is what was sent whole before the server stopped accepting, less a margin for the kernel's own queue.
    """
    with serving(store, run_dir, "fd1", "--workers", str(WORKERS)) as server, ThreadPoolExecutor(1) as pool:
        java = server.java
        family = [java, *java.children(recursive=True)]
        with Load(server.port, "fd1", [photo], callers=40) as load:
            time.sleep(2)
            waiting = server.describe("fd1")["jobQueueStatus"]["pendingRequests"]
            closing = pool.submit(moment_of_closing, java)
            begin = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            status = server.process.wait(60)
            time.sleep(0.2)
    accepted = [hit for hit in load.hits if hit.status != NO_CONNECTION and hit.sent < closing.result() - MARGIN]
    before = Tally.of(hit for hit in accepted if hit.sent < begin)
    after = Tally.of(hit for hit in accepted if hit.sent >= begin)
    late = Tally.of(set(load.hits) - set(accepted))
    assert waiting > 10, "no load"
    assert before.sent == before.answered
    assert after.lost == after.failed == after.rejected == 0
    assert late.failed == late.rejected == 0
    assert status == 0
    assert [process for process in family if process.is_running()] == []
    return before, after, late


@pytest.mark.slow
def test_half_sent_requests_and_idle_connections_do_not_hold_the_end_up(
    store: Path, tmp_path: Path, photo: bytes
) -> None:
    with serving(store, tmp_path, "fd1", "--workers", "1") as server:
        address = ("127.0.0.1", server.port)
        with socket.create_connection(address) as half, socket.create_connection(address):
            half.sendall(b"PUT /predictions/fd1 HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(photo) + photo[:1000])
            begin = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(60) == 0
            took = time.monotonic() - begin
    print(f"\nended in {took:.1f} s beside a half-sent request and an idle connection")
    assert took < max(10, 3 * server.ready_seconds)

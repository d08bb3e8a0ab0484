"""Connections that send slowly, break off, or send too much: the others are answered, and memory stays bounded."""

from __future__ import annotations

import resource
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.chaos.conftest import until
from tests.harness.load import Load, Tally
from tests.harness.server import Server

HEAD = b"PUT /predictions/fd1 HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n"
LIMIT = 32 << 20
"""max_request_size of config/config.properties in bytes."""
STALLED = [pytest.param(200, id="short"), pytest.param(8000, id="long", marks=pytest.mark.long)]


@contextmanager
def connections(server: Server, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10)) for _ in range(count)]


def established(server: Server) -> int:
    """How many connections TorchServe holds open for callers."""
    ours = (c for c in server.java.net_connections("tcp") if c.laddr.port == server.port)
    return sum(c.status != psutil.CONN_LISTEN for c in ours)


def is_open(connection: socket.socket) -> bool:
    """Whether the server neither answered nor closed."""
    connection.setblocking(False)
    try:
        connection.recv(1)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def megabytes(process: psutil.Process) -> float:
    return process.memory_info().rss / (1 << 20)


def read(connection: socket.socket, seconds: float = 10) -> bytes:
    """What comes until the server closes, or the head of an answer is whole."""
    connection.settimeout(seconds)
    got = b""
    with suppress(OSError):
        while b"\r\n\r\n" not in got and (data := connection.recv(65536)):
            got += data
    return got


@pytest.mark.parametrize("count", STALLED)
def test_slow_senders_keep_nobody_waiting(server: Server, photo: bytes, count: int) -> None:
    pids = server.pids("fd1")
    limit, _ = server.java.rlimit(resource.RLIMIT_NOFILE)
    if limit < count + 500 or resource.getrlimit(resource.RLIMIT_NOFILE)[0] < count + 500:
        pytest.skip(f"this machine lets a process open no {count + 500} files")
    with connections(server, count) as slow, Load(server.port, "fd1", [photo], callers=2, think=0.05) as load:
        for connection in slow[::2]:  # a body that stalls
            connection.sendall(HEAD % len(photo) + b"\r\n" + photo[:1000])
        for letter in b"".join([HEAD % len(photo)] * 2)[:40]:  # a head, a byte at a time
            for connection in slow[1::2]:
                connection.send(bytes([letter]))
            time.sleep(0.05)
        load.end()
        still = sum(map(is_open, slow))
    until(lambda: established(server) == 0, 10)
    tally = Tally.of(load.hits)
    print(f"\n{count:,} slow senders, {still:,} never hung up on; the others: {tally}")
    assert tally.sent == tally.answered > 10
    assert still == count, "TorchServe has a time limit after all: docs/faults.md says that it has none"
    assert server.pids("fd1") == pids


@pytest.mark.parametrize(
    "count", [pytest.param(200, id="short"), pytest.param(5000, id="long", marks=pytest.mark.long)]
)
def test_uploads_that_break_off_leave_nothing_behind(server: Server, photo: bytes, count: int) -> None:
    pids = server.pids("fd1")
    before = megabytes(server.java)
    with Load(server.port, "fd1", [photo], callers=2, think=0.05) as load:
        for _ in range(count // 100):
            with connections(server, 100) as broken:
                for i, connection in enumerate(broken):
                    connection.sendall(HEAD % len(photo) + b"\r\n" + photo[: len(photo) // 2])
                    if i % 2:  # closed by a reset
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until(lambda: len(load.hits) > 10, 10)
    until(lambda: established(server) == 0, 10)
    tally = Tally.of(load.hits)
    grown = megabytes(server.java) - before
    print(f"\n{count:,} uploads broken off; the others: {tally}")
    assert tally.sent == tally.answered > 10
    assert grown < 600, f"TorchServe grew by {grown:.0f} MB"  # its young generation is 512
    assert server.pids("fd1") == pids


@pytest.mark.parametrize("count", [pytest.param(4, id="short"), pytest.param(30, id="long", marks=pytest.mark.long)])
def test_a_stalled_upload_holds_the_memory_of_what_it_sent_and_no_more(
    server: Server, photo: bytes, count: int
) -> None:
    size = LIMIT - (2 << 20)
    peaks = []
    for _ in range(2):
        with connections(server, count) as stalled:
            for connection in stalled:
                connection.sendall(HEAD % LIMIT + b"\r\n" + bytes(size))
            peaks.append(megabytes(server.java))
            assert server.predict("fd1", photo).status_code == 200
        until(lambda: established(server) == 0, 10)
    print(f"\n{count} stalled uploads of {size >> 20} MiB, twice")
    assert peaks[1] < peaks[0] + 0.5 * count * (size >> 20) + 100, f"{peaks} MB: what the first held was not given back"


@pytest.mark.parametrize("count", [pytest.param(1, id="short"), pytest.param(10, id="long", marks=pytest.mark.long)])
@pytest.mark.parametrize("closing", [b"", b"Connection: close\r\n"], ids=["kept-alive", "closing"])
def test_a_body_over_the_limit_is_refused_with_413(server: Server, photo: bytes, closing: bytes, count: int) -> None:
    pids = server.pids("fd1")
    before = megabytes(server.java)
    whole = HEAD % len(photo) + b"\r\n" + photo
    for _ in range(count):
        announced = [HEAD % (LIMIT + 1) + closing + b"Expect: 100-continue\r\n\r\n"]
        sent = [HEAD % (40 << 20) + closing + b"\r\n", *[bytes(1 << 20)] * 40]
        chunks = [b"PUT /predictions/fd1 HTTP/1.1\r\nHost: here\r\n" + closing + b"Transfer-Encoding: chunked\r\n\r\n"]
        chunks += [b"100000\r\n" + bytes(1 << 20) + b"\r\n"] * 40 + [b"0\r\n\r\n"]
        for parts in (announced, sent, chunks):
            refused_with_413(server, parts, reuse=whole if parts is sent and not closing else None)
    grown = megabytes(server.java) - before
    print(f"\n{3 * count} bodies over the limit: 413 each")
    assert grown < 400, f"TorchServe grew by {grown:.0f} MB"
    assert server.predict("fd1", photo).status_code == 200
    assert server.pids("fd1") == pids


def refused_with_413(server: Server, parts: Sequence[bytes], reuse: bytes | None) -> None:
    """Send a request that is too large; over the connection, where the server keeps it, another is answered."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        with suppress(ConnectionError):  # the server need not read what it has refused
            for part in parts:
                connection.sendall(part)
        assert read(connection).startswith(b"HTTP/1.1 413 ")
        if reuse:
            connection.sendall(reuse)
            assert read(connection).startswith(b"HTTP/1.1 200 ")
    until(lambda: established(server) == 0, 10)


def test_when_the_server_may_open_no_more_files_newcomers_wait_and_it_recovers(server: Server, photo: bytes) -> None:
    java = server.java
    limits = java.rlimit(resource.RLIMIT_NOFILE)
    room = 100
    open_files = [int(entry.name) for entry in Path(f"/proc/{java.pid}/fd").iterdir()]
    java.rlimit(resource.RLIMIT_NOFILE, (max(open_files) + room, limits[1]))
    try:
        with connections(server, 1) as (kept,), connections(server, 2 * room):
            kept.sendall(HEAD % len(photo) + b"\r\n" + photo)
            assert read(kept).startswith(b"HTTP/1.1 200 "), "who is connected is answered"
            with connections(server, 1) as (newcomer,):
                newcomer.sendall(HEAD % len(photo) + b"\r\n" + photo)
                assert read(newcomer, 1) == b""
        took = until(lambda: server.predict("fd1", photo).status_code == 200, 5)
    finally:
        java.rlimit(resource.RLIMIT_NOFILE, limits)
    print(f"\n{2 * room} connections where {room} are allowed: newcomers answered again {took:.1f} s after they left")

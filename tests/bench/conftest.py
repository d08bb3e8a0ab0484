"""A real HTTP server on loopback whose speed and answers are known."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest


class FakeServer:
    """Answers "[]" after some seconds of sleep, so many requests at once, the others wait. heads, bodies: what came."""

    def __init__(self, seconds: float, slots: int, status: Callable[[int], int]) -> None:
        self.seconds, self.slots, self.status = seconds, slots, status
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/predictions/fd1"

    def __enter__(self) -> FakeServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _main(self) -> None:
        self._loop, self._end, self._free = asyncio.get_running_loop(), asyncio.Event(), asyncio.Semaphore(self.slots)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        while self._writers:  # each leaves when its socket is closed
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
                body = await reader.readexactly(length)
                self.heads.append(head)
                self.bodies.append(body)
                status = self.status(len(self.bodies))
                async with self._free:
                    await asyncio.sleep(self.seconds)
                lines = [f"HTTP/1.1 {status} So", "Content-Length: 2", "Server-Timing: decode;dur=1.50, infer;dur=8.25"]
                writer.write("\r\n".join([*lines, "", "[]"]).encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self._writers.discard(writer)


@pytest.fixture
def fake_server() -> Iterator[Callable[..., FakeServer]]:
    """fake_server(seconds=0.01, slots=1, status=lambda n: 200) starts one; it ends with the test."""
    with _servers() as start:
        yield start


@contextmanager
def _servers() -> Iterator[Callable[..., FakeServer]]:
    started: list[FakeServer] = []

    def start(seconds: float = 0.0, slots: int = 1000, status: Callable[[int], int] = lambda _: 200) -> FakeServer:
        started.append(FakeServer(seconds, slots, status).__enter__())
        return started[-1]

    try:
        yield start
    finally:
        for server in started:
            server.__exit__()

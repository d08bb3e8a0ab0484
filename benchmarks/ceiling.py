"""What the load generator itself can do: hits a second on a server that answers at once, picture by picture.

.venv/bin/python -m benchmarks.ceiling
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

from detserve.bench import samples
from detserve.bench.pacer import Closed
from detserve.bench.report import align
from detserve.bench.runner import Runner, Timing
from detserve.bench.summary import Summary
from detserve.bench.target import HttpTarget

SIZES = ("512x512", "1280x720", "1920x1080", "1920x1440", "4000x3000")
CALLERS = 16
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]"
END = b"\r\n\r\n"


class Noop(asyncio.Protocol):
    """Reads a request by its Content-Length and answers an empty list."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.head = b""
        self.missing = 0

    def data_received(self, data: bytes) -> None:
        """Answer when a body is complete. Its bytes are only counted."""
        if self.missing:
            self.missing -= len(data)
        else:
            self.head += data
            head, end, rest = self.head.partition(END)
            if not end:
                return
            self.missing = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]) - len(rest)
        if self.missing <= 0:
            self.head = b""
            self.transport.write(ANSWER)


@contextmanager
def noop() -> Iterator[str]:
    """The server in a process of its own → its URL."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{mine.recv()}/"
    finally:
        process.kill()
        process.join()


def _serve(pipe: Connection) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Noop, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def ceiling(sizes: Sequence[str] = SIZES, processes: int = 1, seconds: float = 2.0) -> str:
    """A closed loop with each picture on the server that answers at once → a table."""
    rows = [["picture", "hits/s", "client ms/hit", "errors"]]
    data = [samples.of_size(size) for size in sizes]
    with noop() as url, Runner(HttpTarget(url), data, processes) as runner:
        for number, size in enumerate(sizes):
            run = runner.run(Closed(CALLERS), Timing(0.5, seconds), only=number)
            summary = Summary.of(run)
            client = f"{1000 * run.cpu / len(run.hits):.3f}"
            rows.append([size, f"{summary.rate:.0f}", client, str(sum(summary.errors.values()))])
    return align(rows)


def main() -> int:
    """Print the table."""
    for processes in (1, 2):
        print(f"load processes: {processes}, callers: {CALLERS}\n{ceiling(processes=processes)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

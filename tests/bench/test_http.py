"""The HTTP client against servers as they are, and as they should not be."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from detserve.bench.http import BadResponse, Client, Response
from detserve.errors import SetupError

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    return await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))


async def put(talk: Talk, *bodies: bytes) -> tuple[list[Response], int]:
    """The answers of a server to these bodies, one after the other; how many connections it took."""
    async with serving(talk) as (url, writers), Client(url, {"X-Key": "k"}, 4) as client:
        return [await client.send(body) for body in bodies], len(writers)


@asynccontextmanager
async def serving(talk: Talk) -> AsyncIterator[tuple[str, list[asyncio.StreamWriter]]]:
    """A server that has this talk on each connection and then closes it → its URL, and the connections so far."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await talk(reader, writer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x", writers
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0.01)


def answers(*texts: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for text in texts:
            await request(reader)
            writer.write(text)

    return talk


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-Model:  fd1/1.0 \r\n\r\nhello"


def test_answers_come_over_one_connection() -> None:
    found, connections = asyncio.run(put(answers(OK, OK, OK), b"a", b"b" * 3_000_000, b""))
    assert [(r.status, r.body, r.headers["x-model"]) for r in found] == [(200, b"hello", "fd1/1.0")] * 3
    assert connections == 1


def test_an_answer_in_pieces_and_in_chunks() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n10\r\n" + b"d" * 16
        for byte in text + b"\r\n0\r\nTrailer: t\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
        await request(reader)
        writer.write(OK)

    (first, second), connections = asyncio.run(put(talk, b"a", b"b"))
    assert first.body == b"abc" + b"d" * 16
    assert second.body == b"hello"
    assert connections == 1


def test_a_connection_that_the_server_closes_is_not_used_again() -> None:
    closing = OK.replace(b"X-Model", b"Connection: close\r\nX-Model")
    found, connections = asyncio.run(put(answers(closing), b"a", b"b"))
    assert [r.status for r in found] == [200, 200]
    assert connections == 2


def test_a_connection_that_the_server_closed_in_silence_is_not_used_again() -> None:
    async def run() -> tuple[int, int]:
        async with serving(answers(OK)) as (url, writers), Client(url, {}, 4) as client:
            await client.send(b"a")
            await asyncio.sleep(0.05)  # the server's end arrives
            return (await client.send(b"b")).status, len(writers)

    assert asyncio.run(run()) == (200, 2)


def test_a_refusal_before_the_body_was_read_is_an_answer() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.write_eof()
        while await reader.read(1 << 16):  # what is in flight, lest the answer be lost with the connection
            pass

    (answer,), _ = asyncio.run(put(talk, b"x" * 5_000_000))
    assert answer.status == 413


@pytest.mark.parametrize(
    "text", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", b"SSH-2.0-x\r\n\r\n", b"\r\n\r\n"]
)
def test_what_is_no_whole_answer_is_refused(text: bytes) -> None:
    with pytest.raises(BadResponse):
        asyncio.run(put(answers(text), b"a"))


def test_an_endless_head_is_refused() -> None:
    with pytest.raises(BadResponse, match="does not end"):
        asyncio.run(put(answers(b"x" * 1_000_000), b"a"))


def test_hits_beyond_the_connections_wait() -> None:
    async def run() -> int:
        opened = 0

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal opened
            opened += 1
            while not reader.at_eof():
                await request(reader)
                await asyncio.sleep(0.005)
                writer.write(OK)

        async with serving(talk) as (url, _), Client(url, {}, 3) as client:
            await asyncio.gather(*(client.send(b"a") for _ in range(20)))
        return opened

    assert asyncio.run(run()) == 3


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "127.0.0.1:8080/x", "http:///x"])
def test_other_urls_are_refused_by_name(url: str) -> None:
    with pytest.raises(SetupError, match="no http:// URL"):
        Client(url, {}, 1)


def test_no_server_is_a_refused_connection() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/"

        async def run() -> None:
            async with Client(url, {}, 1) as client:
                await client.send(b"a")

        with pytest.raises(ConnectionRefusedError):
            asyncio.run(run())

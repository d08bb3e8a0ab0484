"""Target: what is hit, over HTTP or gRPC. `detserve.bench.engine` has the one in process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from detserve.bench import http
from detserve.client import protocol, status
from detserve.client.status import NO_CONNECTION, TIMEOUT
from detserve.pictures.depth import WithDepth

BROKEN = "broken connection"
CONNECTIONS = 512
"""Most connections of one load process; further hits wait for one, and the wait is counted."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one hit.

    status: "200" or another status of HTTP, a code of gRPC, or what kept an answer from coming; body: of the answer;
    stages: milliseconds of each stage inside the server, if it reports them.
    """

    status: str
    body: bytes = b""
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the picture was answered."""
        return self.status == "200"


Attack = Callable[[bytes | WithDepth], Awaitable[Outcome]]
"""One hit with a picture, and its depth where there is any. It never raises: a hit that fails is an Outcome as well."""


class Target(Protocol):
    """What is hit. It is sent to the load processes, and each opens it once."""

    def open(self) -> AbstractAsyncContextManager[Attack]:
        """Connect, or load what is run in process."""


@dataclass(frozen=True)
class HttpTarget:
    """Pictures as bodies of PUT requests, as `curl -T` sends them; with depth as forms. timeout: seconds."""

    url: str
    token: str | None = None
    timeout: float = 30.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Attack]:
        """Connections that are kept alive."""
        async with http.Client(self.url, protocol.headers(token=self.token), CONNECTIONS) as client:

            async def attack(picture: bytes | WithDepth) -> Outcome:
                sent = await exchange(client, self.timeout, *_form(picture))
                if isinstance(sent, Outcome):
                    return sent
                return Outcome(str(sent.status), sent.body, protocol.timings(sent.headers))

            yield attack


async def exchange(
    client: http.Client, timeout: float, body: bytes, headers: Mapping[str, str] | None = None
) -> http.Response | Outcome:
    """One request → its response, or what kept it from coming. timeout: seconds."""
    try:
        async with asyncio.timeout(timeout):
            return await client.send(body, headers)
    except TimeoutError:
        return Outcome(TIMEOUT)
    except ConnectionRefusedError:
        return Outcome(NO_CONNECTION)
    except (OSError, http.BadResponse):
        return Outcome(BROKEN)


@dataclass(frozen=True)
class GrpcTarget:
    """Pictures over gRPC to a model at "HOST:PORT". timeout: seconds; v2: in the protocol of Triton."""

    address: str
    model: str
    token: str | None = None
    timeout: float = 30.0
    v2: bool = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Attack]:
        """One channel, which carries all hits at once."""
        import grpc

        from detserve.client import v2_grpc
        from detserve.client.grpc import TORCHSERVE, aio_channel

        predict = (v2_grpc.TRITON if self.v2 else TORCHSERVE).predict_async
        async with aio_channel(self.address) as channel:

            async def attack(picture: bytes | WithDepth) -> Outcome:
                colour, depth = _pair(picture)
                try:
                    body = await predict(
                        channel, self.model, colour, timeout=self.timeout, token=self.token, depth=depth
                    )
                except grpc.aio.AioRpcError as error:
                    return Outcome(status.of_grpc(error.code().name, error.details() or "")[0])
                return Outcome(status.of_body(body), body)

            yield attack


def _pair(picture: bytes | WithDepth) -> tuple[bytes, bytes | None]:
    """The bytes of the colours, and of depth where there is any."""
    return (bytes(picture.colour), bytes(picture.depth)) if isinstance(picture, WithDepth) else (picture, None)


def _form(picture: bytes | WithDepth) -> tuple[bytes, Mapping[str, str]]:
    """A body and its own headers."""
    colour, depth = _pair(picture)
    if depth is None:
        return colour, {}
    import httpx

    request = httpx.Request("POST", "http://unused", files={"image": colour, "depth": depth})
    return request.read(), {"Content-Type": request.headers["Content-Type"]}

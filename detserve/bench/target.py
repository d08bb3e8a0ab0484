"""Target: what is hit, over HTTP or gRPC. `detserve.bench.engine` has the one in process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from detserve.bench import http
from detserve.client import status
from detserve.client.status import NO_CONNECTION, TIMEOUT

BROKEN = "broken connection"
CONNECTIONS = 512
"""Most connections of one load process; further hits wait for one, and the wait is counted."""


@dataclass(frozen=True)
class Reply:
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


Attack = Callable[[bytes], Awaitable[Reply]]
"""One hit with a picture's bytes. It never raises: a hit that fails is a Reply as well."""


class Target(Protocol):
    """What is hit. It is sent to the load processes, and each opens it once."""

    def open(self) -> AbstractAsyncContextManager[Attack]:
        """Connect, or load what is run in process."""


@dataclass(frozen=True)
class HttpTarget:
    """Pictures as bodies of PUT requests, as `curl -T` sends them. timeout: seconds."""

    url: str
    token: str | None = None
    timeout: float = 30.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Attack]:
        """Connections that are kept alive."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with http.Client(self.url, headers, CONNECTIONS) as client:

            async def attack(picture: bytes) -> Reply:
                try:
                    async with asyncio.timeout(self.timeout):
                        status, headers, body = await client.put(picture)
                except TimeoutError:
                    return Reply(TIMEOUT)
                except ConnectionRefusedError:
                    return Reply(NO_CONNECTION)
                except (OSError, http.BadResponse):
                    return Reply(BROKEN)
                return Reply(str(status), body, _stages(headers.get("server-timing", "")))

            yield attack


@dataclass(frozen=True)
class GrpcTarget:
    """Pictures over gRPC to a model at "HOST:PORT". timeout: seconds."""

    address: str
    model: str
    token: str | None = None
    timeout: float = 30.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Attack]:
        """One channel, which carries all hits at once."""
        import grpc

        from detserve.client.grpc import aio_channel, predict_async

        async with aio_channel(self.address) as channel:

            async def attack(picture: bytes) -> Reply:
                try:
                    body = await predict_async(channel, self.model, picture, timeout=self.timeout, token=self.token)
                except grpc.aio.AioRpcError as error:
                    return Reply(status.of_grpc(error.code().name, error.details() or "")[0])
                return Reply(_status_of(body), body)

            yield attack


def _stages(header: str) -> dict[str, float]:
    """'decode;dur=1.50, infer;dur=8.25' → {"decode": 1.5, "infer": 8.25}."""
    return {name: float(ms) for name, ms in re.findall(r"([\w-]+);dur=([\d.]+)", header)}


def _status_of(body: bytes) -> str:
    """The status in an answer over gRPC, where only the body tells an error."""
    code = re.match(rb'\{\s*"code":\s*(\d+)', body)
    return code[1].decode() if code else "200"

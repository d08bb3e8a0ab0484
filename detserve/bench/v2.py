"""V2: the target that Triton is, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from detserve.bench import http
from detserve.bench.target import CONNECTIONS, Attack, Outcome, exchange
from detserve.client import protocol, v2
from detserve.client.protocol import Question
from detserve.pictures.depth import WithDepth


@dataclass(frozen=True)
class V2Target:
    """Pictures as strings of KServe's protocol v2, the bytes as they are. timeout: seconds."""

    url: str
    model: str
    token: str | None = None
    timeout: float = 30.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Attack]:
        """Connections that are kept alive."""
        async with http.Client(self.url.rstrip("/") + v2.path(self.model), {}, CONNECTIONS, "POST") as client:

            async def attack(picture: bytes | WithDepth) -> Outcome:
                request = v2.request(Question(self.model, picture), self.token)
                sent = await exchange(client, self.timeout, request.body, request.headers)
                if isinstance(sent, Outcome):
                    return sent
                reply = v2.reply(protocol.Reply(sent.status, sent.body, sent.headers))
                return Outcome(str(reply.status), reply.body)

            yield attack

"""Transport: a question → its answer. Asks again while the server is busy or away, after longer and longer pauses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from detserve.client import status
from detserve.client.answer import Answer, Failure, failure, parse
from detserve.client.protocol import AsyncSend, Question, Reply, Send
from detserve.client.retries import Retries
from detserve.client.status import NO_CONNECTION, TIMEOUT

if TYPE_CHECKING:
    import grpc


class Asker:
    """Asks by blocking. Threads may share an asker."""

    def __init__(self, send: Send, retries: Retries | None = None) -> None:
        self._send = send
        self._retries = retries or Retries()

    def ask(self, question: Question) -> Answer:
        """The answer to a question. Raises Failure when there is none."""
        pauses = self._retries.pauses()
        while True:
            try:
                answer = parse(self._send(question))
            except Failure as failed:
                time.sleep(self._retries.after(failed, pauses))
            else:
                self._retries.answered()
                return answer


class AsyncAsker:
    """Asks within asyncio."""

    def __init__(self, send: AsyncSend, retries: Retries | None = None) -> None:
        self._send = send
        self._retries = retries or Retries()

    async def ask(self, question: Question) -> Answer:
        """The answer to a question. Raises Failure when there is none."""
        pauses = self._retries.pauses()
        while True:
            try:
                answer = parse(await self._send(question))
            except Failure as failed:
                await asyncio.sleep(self._retries.after(failed, pauses))
            else:
                self._retries.answered()
                return answer


@contextmanager
def over_grpc(address: str, token: str | None = None, timeout: float = 30.0, v2: bool = False) -> Iterator[Send]:
    """Predictions at "HOST:PORT" on one channel. token: as over HTTP; timeout: seconds for an answer; v2: of Triton."""
    import grpc

    from detserve.client import grpc as grpc_client
    from detserve.client import v2_grpc

    predict = (v2_grpc.TRITON if v2 else grpc_client.TORCHSERVE).predict
    with grpc_client.channel(address) as channel:

        def send(question: Question) -> Reply:
            sent = question.picture
            picture, depth = (sent, None) if isinstance(sent, bytes) else (bytes(sent.colour), bytes(sent.depth))
            try:
                body = predict(channel, question.model, picture, question.options, timeout, token, depth)
            except grpc.RpcError as error:
                raise _failure(error, address, timeout) from error
            return Reply(200, body)

        yield send


def _failure(error: grpc.RpcError, address: str, timeout: float) -> Failure:
    """The failure that an error of gRPC stands for."""
    code, message = status.of_grpc(error.code().name, error.details() or "")
    if code == TIMEOUT:
        return failure(TIMEOUT, f"no answer within {timeout:g} s")
    return failure(code, f"{address}: {message}" if code == NO_CONNECTION else message)

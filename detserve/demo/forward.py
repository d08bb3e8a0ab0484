"""Forward: a prediction handed on to the server byte for byte, both ways, none of it kept.

The token is added here. Of the headers only those pass that a prediction knows, and the body ends at the limit.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from detserve.demo.guard import error
from detserve.demo.upstream import Upstream
from detserve.options import OPTIONS

SENT = ("Content-Type", "Content-Length", *(option.header for option in OPTIONS))
"""Headers of a request that are handed on."""
MODEL = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]*")
"""A model's name as TorchServe has it, which is never `..` and needs no quoting."""
ANSWERED = ("Content-Type", "Content-Length", "Server-Timing", "X-Image-Size", "X-Model")
"""Headers of an answer that are handed on."""


def no_server(upstream: Upstream) -> JSONResponse:
    """The error where nobody listens."""
    return error(502, "no_server", f"no server listens at {upstream.url}: start it anew")


class TooLarge(Exception):
    """A body that goes on beyond the limit."""


class Predictions:
    """The endpoint /predictions/NAME. limit: bytes of a body, above which the answer is 413."""

    def __init__(self, upstream: Upstream, limit: int) -> None:
        self.upstream, self.limit = upstream, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        request = Request(scope, receive)
        name = request.path_params["name"]
        if not MODEL.fullmatch(name):
            await error(404, "no_model", "this is no model's name")(scope, receive, send)
            return
        client: httpx.AsyncClient = request.state.client
        headers = {each: value for each in SENT if (value := request.headers.get(each)) is not None}
        try:
            if int(headers.get("Content-Length", 0)) > self.limit:
                raise TooLarge
            handed_on = client.build_request(
                request.method,
                self.upstream.prediction(name),
                content=self._body(request),
                headers={**headers, **self.upstream.authorization, "Accept-Encoding": "identity"},
            )
            answer = await client.send(handed_on, stream=True)
        except ClientDisconnect:
            return
        except (TooLarge, httpx.TransportError) as reason:
            await self._refusal(reason)(scope, receive, send)
            return
        try:
            passed = {each: answer.headers[each] for each in ANSWERED if each in answer.headers}
            await StreamingResponse(answer.aiter_raw(), answer.status_code, passed)(scope, receive, send)
        finally:
            await answer.aclose()

    def _refusal(self, reason: Exception) -> JSONResponse:
        """Why there is no answer of the server."""
        if isinstance(reason, TooLarge):
            refusal = error(413, "body_too_large", f"the body is over {self.limit >> 20} MiB: send a smaller file")
            refusal.headers["Connection"] = "close"  # nobody reads the rest
            return refusal
        if isinstance(reason, httpx.TimeoutException):
            return error(504, "no_answer", f"the server at {self.upstream.url} does not answer in time: ask again")
        if isinstance(reason, httpx.ConnectError):
            return no_server(self.upstream)
        return error(502, "no_answer", f"the server at {self.upstream.url} hung up: ask again")

    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        taken = 0
        async for chunk in request.stream():
            taken += len(chunk)
            if taken > self.limit:
                raise TooLarge
            yield chunk

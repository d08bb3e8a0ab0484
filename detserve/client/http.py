"""HTTP: sends questions by httpx, for blocking callers and for asyncio."""

from __future__ import annotations

from typing import Any, Self

import httpx

from detserve.client.answer import Failure, failure
from detserve.client.protocol import PREDICTIONS, Form, HttpRequest, Question, Reply
from detserve.client.status import NO_CONNECTION, TIMEOUT

FAULTS = (httpx.HTTPError, httpx.InvalidURL, UnicodeEncodeError)
"""What httpx raises; the last for a token that no header can carry."""
CONNECT_SECONDS = 5.0
"""A host that does not accept a connection within this time counts as absent."""


class Http:
    """Questions to a server at a URL, on at most `at_once` connections that are kept; more of them wait for one.

    token: for a server that asks for one; timeout: seconds that the server may be silent; form: of the questions. It is
    a `Send`.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout: float = 30.0,
        at_once: int = 100,
        form: Form = PREDICTIONS,
    ) -> None:
        self._url, self._token, self._timeout, self._form = url, token, timeout, form
        self._client = httpx.Client(**_settings(url, timeout, at_once))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __call__(self, question: Question) -> Reply:
        """One try. Raises Failure when no reply comes."""
        try:
            arguments = _arguments(self._url, self._form.request(question, self._token))
            return self._form.reply(_reply(self._client.request(**arguments)))
        except FAULTS as error:
            raise _failure(error, self._url, self._timeout) from error


class AsyncHttp:
    """`Http` for asyncio."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout: float = 30.0,
        at_once: int = 100,
        form: Form = PREDICTIONS,
    ) -> None:
        self._url, self._token, self._timeout, self._form = url, token, timeout, form
        self._client = httpx.AsyncClient(**_settings(url, timeout, at_once))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __call__(self, question: Question) -> Reply:
        """One try. Raises Failure when no reply comes."""
        try:
            arguments = _arguments(self._url, self._form.request(question, self._token))
            return self._form.reply(_reply(await self._client.request(**arguments)))
        except FAULTS as error:
            raise _failure(error, self._url, self._timeout) from error


def _settings(url: str, timeout: float, at_once: int) -> dict[str, Any]:
    return {
        # A question that waits for a connection is not late yet.
        "timeout": httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout), pool=None),
        "limits": httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once),
        # Reading the certificates takes longer than asking.
        "verify": not url.startswith("http://"),
    }


def _arguments(url: str, request: HttpRequest) -> dict[str, Any]:
    sent = {"content": request.body} if request.form is None else {"files": request.form}
    return {"method": request.method, "url": url.rstrip("/") + request.path, "headers": request.headers, **sent}


def _reply(response: httpx.Response) -> Reply:
    return Reply(response.status_code, response.content, response.headers)


def _failure(error: Exception, url: str, timeout: float) -> Failure:
    """The failure that an error of httpx stands for."""
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
        return failure(TIMEOUT, f"no answer within {timeout:g} s")
    if isinstance(error, httpx.TimeoutException):
        return failure(NO_CONNECTION, f"{url}: no connection within {min(CONNECT_SECONDS, timeout):g} s")
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return failure(NO_CONNECTION, f"{url}: {_cause(error)}")
    return failure("no request", str(error))


def _cause(error: BaseException) -> str:
    """The message of the innermost error, without the layers around it."""
    while error.__context__ is not None:
        error = error.__context__
    return getattr(error, "strerror", None) or str(error)

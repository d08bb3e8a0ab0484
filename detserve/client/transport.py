"""Transport: sends a picture to a model and returns its answer, over HTTP or gRPC. Tries again while it is busy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from detserve.client import status
from detserve.client.answer import Answer, Failure, parse
from detserve.client.status import NO_CONNECTION, TIMEOUT
from detserve.options import OPTIONS
from detserve.pictures.depth import WithDepth

if TYPE_CHECKING:
    import grpc

HEADERS = {option.name: option.header for option in OPTIONS}
PAUSES = (0.25, 0.5, 1.0, 2.0)
"""Seconds before each further try."""
CONNECT_SECONDS = 5.0
"""A host that does not accept a connection within this time counts as absent."""

Send = Callable[[bytes | WithDepth], tuple[int, bytes]]
"""One try: a picture's bytes, with depth where there is any → status and body of the answer.

Raises Failure when none comes. Threads may share it."""


class Asker:
    """Asks again, after longer and longer pauses, while the server is busy or away.

    When it has stayed away for one picture, the next ones are tried only once each until one is answered. So a folder
    of pictures does not wait picture by picture for a server that is not there. Threads may share an asker.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._there = True

    def ask(self, picture: bytes | WithDepth) -> Answer:
        """The answer to a picture's bytes. Raises Failure when there is none."""
        pauses = list(PAUSES if self._there else ())
        while True:
            try:
                answer = parse(*self._send(picture))
                self._there = True
                return answer
            except Failure as failure:
                if not (failure.passes and pauses):
                    self._there = failure.code != NO_CONNECTION
                    raise
            time.sleep(pauses.pop(0))


@contextmanager
def over_http(
    url: str, model: str, options: Mapping[str, str], token: str | None = None, timeout: float = 30.0
) -> Iterator[Send]:
    """PUT requests to /predictions/MODEL at a URL, on connections that are kept.

    options: fields of the request, {"conf_threshold": "0.3"} for instance, sent as headers; token: for a server that
    asks for one; timeout: seconds that the server may be silent.
    """
    import requests

    place = f"{url.rstrip('/')}/predictions/{quote(model, safe='')}"
    headers = {HEADERS[name]: value for name, value in options.items()}

    def authorise(request: requests.PreparedRequest) -> requests.PreparedRequest:
        # A header of the session would be replaced by what a .netrc file has for the host.
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    with requests.Session() as session:

        def send(picture: bytes | WithDepth) -> tuple[int, bytes]:
            limits = (min(CONNECT_SECONDS, timeout), timeout)
            try:
                if isinstance(picture, WithDepth):
                    form = {"image": bytes(picture.colour), "depth": bytes(picture.depth)}
                    answer = session.post(place, files=form, headers=headers, auth=authorise, timeout=limits)
                else:
                    answer = session.put(place, data=picture, headers=headers, auth=authorise, timeout=limits)
            except requests.ReadTimeout as error:
                raise Failure(TIMEOUT, f"no answer within {timeout:g} s") from error
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                raise Failure(NO_CONNECTION, f"{url}: {_cause(error)}") from error
            except requests.RequestException as error:
                raise Failure("no request", str(error)) from error
            return answer.status_code, answer.content

        yield send


@contextmanager
def over_grpc(
    address: str, model: str, options: Mapping[str, str], token: str | None = None, timeout: float = 30.0
) -> Iterator[Send]:
    """Predictions at "HOST:PORT" on one channel. options and token as over HTTP; timeout: seconds for an answer."""
    import grpc

    from detserve.client import grpc as grpc_client

    with grpc_client.channel(address) as channel:

        def send(picture: bytes | WithDepth) -> tuple[int, bytes]:
            try:
                colour, depth = (
                    (bytes(picture.colour), bytes(picture.depth)) if isinstance(picture, WithDepth) else (picture, None)
                )
                return 200, grpc_client.predict(channel, model, colour, options, timeout, token, depth)
            except grpc.RpcError as error:
                raise _failure(error, address, timeout) from error

        yield send


def _cause(error: BaseException) -> str:
    """The message of the innermost error, without the layers around it."""
    while error.__context__ is not None:
        error = error.__context__
    return getattr(error, "strerror", None) or str(error)


def _failure(error: grpc.RpcError, address: str, timeout: float) -> Failure:
    """The failure that an error of gRPC stands for."""
    code, message = status.of_grpc(error.code().name, error.details() or "")
    if code == TIMEOUT:
        return Failure(TIMEOUT, f"no answer within {timeout:g} s")
    return Failure(code, f"{address}: {message}" if code == NO_CONNECTION else message)

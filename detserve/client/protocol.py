"""Protocol: a question to a model as a request of HTTP, and what the head of its answer says. Nothing is sent here.

client.py, `Client`, `AsyncClient`, documents, qpstest and the page all take their paths, headers and options from here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from detserve.options import OPTIONS

if TYPE_CHECKING:
    from detserve.pictures.depth import WithDepth

ADDRESSES = {
    "http": "http://127.0.0.1:8080",
    "grpc": "127.0.0.1:7070",
    "triton": "http://127.0.0.1:8000",
    "triton-grpc": "127.0.0.1:8001",
}
"""The protocols that are spoken, each with where its server listens unless told otherwise."""
HEADERS = {option.name: option.header for option in OPTIONS}
_KEYS = {option.key: option for option in OPTIONS}


@dataclass(frozen=True)
class Question:
    """What one request asks: a picture, to a model.

    picture: its bytes, with a depth map where the model wants one; options: fields of the request and their text,
    {"conf_threshold": "0.3"} for instance.
    """

    model: str
    picture: bytes | WithDepth
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HttpRequest:
    """A request as any library of HTTP sends it: either a body, or the fields of a multipart form."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    form: Mapping[str, bytes] | None = None


@dataclass(frozen=True)
class Reply:
    """What came back. headers: by their names in lower case; none over gRPC, whose status is always 200."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


Send = Callable[[Question], Reply]
"""One try. Raises Failure when no reply comes. Threads may share it."""
AsyncSend = Callable[[Question], Awaitable[Reply]]
"""The same within asyncio."""


def path(model: str) -> str:
    """Where a model is asked."""
    return f"/predictions/{quote(model, safe='')}"


def headers(options: Mapping[str, str] | None = None, token: str | None = None) -> dict[str, str]:
    """The headers of a request with these fields; token: of a server that asks for one."""
    found = {HEADERS[name]: value for name, value in (options or {}).items()}
    return found | {"Authorization": f"Bearer {token}"} if token else found


def http_request(question: Question, token: str | None = None) -> HttpRequest:
    """A PUT of the picture's bytes; with a depth map a form with both."""
    place, head, picture = path(question.model), headers(question.options, token), question.picture
    if isinstance(picture, bytes):
        return HttpRequest("PUT", place, head, picture)
    form = {"image": bytes(picture.colour), "depth": bytes(picture.depth)}
    return HttpRequest("POST", place, head, form=form)


@dataclass(frozen=True)
class Form:
    """How a kind of server is asked over HTTP, and what its replies are in the form of /predictions."""

    request: Callable[[Question, str | None], HttpRequest]
    reply: Callable[[Reply], Reply]


PREDICTIONS = Form(http_request, lambda reply: reply)
"""TorchServe's, and LitServe's from `repack.py --litserve`. Triton's is `detserve.client.v2.TRITON`."""


def fields(options: Mapping[str, Any]) -> dict[str, str]:
    """Options by their short names, {"conf": 0.3} for instance, as fields of a request. None stands for the default.

    Raises InvalidOption for a value out of range, TypeError for an option that there is not.
    """
    found = {}
    for key, value in options.items():
        if key not in _KEYS:
            raise TypeError(f"{key!r} is no option: there are {', '.join(_KEYS)}")
        if value is not None:
            option = _KEYS[key]
            option.check(option.parse(value))
            found[option.name] = str(value)
    return found


def timings(head: Mapping[str, str]) -> dict[str, float]:
    """Server-Timing, 'decode;dur=1.50, infer;dur=8.25' → {"decode": 1.5, "infer": 8.25} in milliseconds."""
    return {name: float(ms) for name, ms in re.findall(r"([\w-]+);dur=([\d.]+)", head.get("server-timing", ""))}


def size(head: Mapping[str, str]) -> tuple[int, int] | None:
    """X-Image-Size, '640x480' → (640, 480), of the upright picture; None where there is none."""
    match = re.fullmatch(r"(\d+)x(\d+)", head.get("x-image-size", ""))
    return (int(match[1]), int(match[2])) if match else None

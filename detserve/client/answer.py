"""Answer: what a server says of one picture, and the errors for a picture without an answer.

::

    Failure                 a picture without an answer
    ├── Busy                503: the queue is full, or the server is ending; tried again until the pauses were used up
    ├── NoConnection        nobody listens, or the connection was lost
    ├── TimedOut            no answer in time
    ├── Refused             4xx: the picture, an option, the model or the token is not accepted
    └── ServerFault         everything else: the server failed, or what answered is no detserve
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detserve.client import protocol
from detserve.client.protocol import Reply
from detserve.client.status import BUSY, NO_CONNECTION, TIMEOUT
from detserve.errors import DetserveError

_SHOWN = 80  # characters of an answer that is not understood


class Failure(DetserveError):
    """A picture without an answer.

    code: the status in the server's answer, "400" for instance; a code of gRPC, "INTERNAL" for instance; or TIMEOUT or
    NO_CONNECTION when no answer came. type: the server's word for it, "bad_picture" for instance, if it has one.
    retry_after: seconds that the server asks for. The text is the code and the message, on one line.
    """

    def __init__(self, code: str, message: str, type: str = "", retry_after: float = 0.0) -> None:
        super().__init__(f"{code}: {' '.join(message.split())}")
        self.code = code
        self.type = type
        self.retry_after = retry_after

    @property
    def passes(self) -> bool:
        """Whether the failure may pass: the same picture may be answered a moment later."""
        return self.code in (BUSY, NO_CONNECTION)


class Busy(Failure):
    """The queue is full, or the server is ending."""


class NoConnection(Failure):
    """Nobody listens, or the connection was lost."""


class TimedOut(Failure, TimeoutError):
    """No answer in time."""


class Refused(Failure):
    """The picture, an option, the model or the token is not accepted; asking again changes nothing."""


class ServerFault(Failure):
    """The server failed, or what answered is no detserve."""


_CLASSES: Mapping[str, type[Failure]] = {BUSY: Busy, NO_CONNECTION: NoConnection, TIMEOUT: TimedOut}


def failure(code: str, message: str, type: str = "", retry_after: float = 0.0) -> Failure:
    """The failure of that code, of the class that it belongs to."""
    otherwise = Refused if re.fullmatch(r"4\d\d", code) else ServerFault
    return _CLASSES.get(code, otherwise)(code, message, type, retry_after)


@dataclass(frozen=True)
class Answer:
    """What the server found in a picture.

    detections: the objects of its JSON; maps: name → grey PNG, if asked for; and what only HTTP tells: size: (width,
    height) of the upright picture; model: its name and version; timings: milliseconds of each stage in the server.
    """

    detections: list[dict[str, Any]]
    maps: Mapping[str, bytes] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    model: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)


def parse(reply: Reply) -> Answer:
    """The answer in a reply. The status counts only where the body has none: over gRPC it is always 200.

    Raises Failure for an error, and for a body that does not come from detserve or TorchServe.
    """
    status, body, wait = reply.status, reply.body, _seconds(reply.headers.get("retry-after", ""))
    try:
        match json.loads(body):
            case list(found) if _are_detections(found):
                return _answer(reply, found, {})
            case {"detections": list(found), "maps": dict(maps)} if _are_detections(found):
                return _answer(reply, found, {_file_name(name): base64.b64decode(png) for name, png in maps.items()})
            case {"code": int(code), "message": str(message), **more}:
                raise failure(str(code), message, str(more.get("type", "")), wait)
    except ValueError:
        pass
    shown = body[:_SHOWN].decode("utf-8", "replace")
    raise failure(str(status), f"not an answer of detserve: {shown!r}" if body else "an empty answer", retry_after=wait)


def quad_of(found: Mapping[str, Any]) -> list[float]:
    """The corners of what was found, x, y of each in ratios, clockwise from its top left: of its quad, or its box."""
    if quad := found.get("quad_ratio"):
        return list(quad)
    cx, cy, w, h = found["xywh_ratio"]
    left, top, right, bottom = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    return [left, top, right, top, right, bottom, left, bottom]


def _answer(reply: Reply, found: list[dict[str, Any]], maps: Mapping[str, bytes]) -> Answer:
    head = reply.headers
    return Answer(found, maps, protocol.size(head), head.get("x-model", ""), protocol.timings(head))


def _are_detections(items: list[Any]) -> bool:
    return all(isinstance(item, dict) and {"xywh_ratio", "conf"} <= item.keys() for item in items)


def _file_name(name: str) -> str:
    """The name of a map. It becomes part of a file's name here, and must not lead to another folder."""
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(name)
    return name


def _seconds(retry_after: str) -> float:
    """Retry-After in seconds; as a date, which proxies hardly send, it counts as none."""
    return float(retry_after) if re.fullmatch(r"\d{1,6}", retry_after.strip()) else 0.0

"""Answer: what a server says of one picture, and the one error for a picture without an answer."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detserve.client.status import BUSY, NO_CONNECTION
from detserve.errors import DetserveError

_SHOWN = 80  # characters of an answer that is not understood


class Failure(DetserveError):
    """A picture without an answer.

    code: the status in the server's answer, "400" for instance; a code of gRPC, "INTERNAL" for instance; or TIMEOUT or
    NO_CONNECTION when no answer came. The text is the code and the message, on one line.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {' '.join(message.split())}")
        self.code = code

    @property
    def passes(self) -> bool:
        """Whether the failure may pass: the same picture may be answered a moment later."""
        return self.code in (BUSY, NO_CONNECTION)


@dataclass(frozen=True)
class Answer:
    """What the server found in a picture. detections: the objects of its JSON; maps: name → grey PNG, if asked for."""

    detections: list[dict[str, Any]]
    maps: Mapping[str, bytes] = field(default_factory=dict)


def parse(status: int, body: bytes) -> Answer:
    """The answer in a body. The status counts only where the body has none: over gRPC it is always 200.

    Raises Failure for an error, and for a body that does not come from detserve or TorchServe.
    """
    try:
        match json.loads(body):
            case list(detections) if _are_detections(detections):
                return Answer(detections)
            case {"detections": list(detections), "maps": dict(maps)} if _are_detections(detections):
                return Answer(detections, {_file_name(name): base64.b64decode(png) for name, png in maps.items()})
            case {"code": int(code), "message": str(message)}:
                raise Failure(str(code), message)
    except ValueError:
        pass
    shown = body[:_SHOWN].decode("utf-8", "replace")
    raise Failure(str(status), f"not an answer of detserve: {shown!r}" if body else "an empty answer")


def _are_detections(items: list[Any]) -> bool:
    return all(isinstance(item, dict) and {"xywh_ratio", "conf"} <= item.keys() for item in items)


def _file_name(name: str) -> str:
    """The name of a map. It becomes part of a file's name here, and must not lead to another folder."""
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(name)
    return name

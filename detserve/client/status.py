"""Status: the outcome of a request as one short word, for both protocols."""

from __future__ import annotations

import re

TIMEOUT = "timeout"
NO_CONNECTION = "no connection"
BUSY = "503"
"""The queue is full, or the server is ending."""


def of_grpc(code: str, details: str) -> tuple[str, str]:
    """The status and the message of a call over gRPC that failed.

    code: gRPC's, "UNAVAILABLE" for instance; details: its text. A full queue has no code of its own. It is known by
    TorchServe's exception, whose name is on the second line of the details.
    """
    message, _, exception = details.partition("\n")
    if exception and (code == "UNAVAILABLE" or exception == "InternalServerException.()"):
        return BUSY, message
    return {"DEADLINE_EXCEEDED": TIMEOUT, "UNAVAILABLE": NO_CONNECTION}.get(code, code), message


def of_body(body: bytes) -> str:
    """The status in an answer over gRPC, where only the body tells an error; nothing else of the body is read."""
    code = re.match(rb'\{\s*"code":\s*(\d+)', body)
    return code[1].decode() if code else "200"

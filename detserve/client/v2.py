"""V2: KServe's protocol v2 as Triton extends it, so that a picture's bytes go as they are: behind a head of JSON."""

from __future__ import annotations

import json
import struct
from urllib.parse import quote

from detserve.client import protocol, status
from detserve.client.protocol import Form, HttpRequest, Question, Reply

HEAD = "Inference-Header-Content-Length"
"""The header that says how many bytes of a body are JSON; strings follow it, each behind its length."""


def path(model: str) -> str:
    """Where a model is asked."""
    return f"/v2/models/{quote(model, safe='')}/infer"


def request(question: Question, token: str | None = None) -> HttpRequest:
    """A POST of the picture, and of its depth map, as strings. token: of a proxy that asks for one."""
    picture = question.picture
    inputs = {"pictures": picture if isinstance(picture, bytes) else bytes(picture.colour)}
    if not isinstance(picture, bytes):
        inputs["depth"] = bytes(picture.depth)
    strings = [struct.pack("<I", len(data)) + data for data in inputs.values()]
    head = json.dumps(
        {
            "parameters": dict(question.options),
            "inputs": [
                {"name": name, "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(string)}}
                for name, string in zip(inputs, strings, strict=True)
            ],
            "outputs": [{"name": "detections", "parameters": {"binary_data": True}}],
        }
    ).encode()
    headers = {HEAD: str(len(head)), "Content-Type": "application/octet-stream", **protocol.headers(token=token)}
    return HttpRequest("POST", path(question.model), headers, b"".join([head, *strings]))


def reply(sent: Reply) -> Reply:
    """Triton's reply as /predictions would have given it.

    Triton answers 200 where a picture could not be answered: the status is then that of the object in its place. What
    Triton itself refuses is brought into the form of detserve's errors.
    """
    if sent.status != 200:
        error = {"code": sent.status, "type": "server_error", "message": _message(sent.body)}
        return Reply(sent.status, json.dumps(error).encode(), sent.headers)
    content = sent.body[int(sent.headers.get(HEAD.lower(), 0)) + 4 :]
    code = status.of_body(content)
    return Reply(int(code), content, sent.headers)


TRITON = Form(request, reply)
"""Triton's form of questions, for `detserve.client.http.Http`."""


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:300].decode("utf-8", "replace")

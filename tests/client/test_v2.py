"""What is sent in KServe's v2, and what a reply stands for. tests/e2e/test_exits.py asks a real Triton."""

from __future__ import annotations

import json
import struct

import pytest

from detserve.client import v2, v2_grpc
from detserve.client.protocol import Question, Reply
from detserve.pictures.depth import WithDepth


def test_strings_follow_the_head_that_declares_them() -> None:
    request = v2.request(Question("a/b", WithDepth(b"picture", b"map"), {"conf_threshold": "0.3"}), "key")
    assert (request.method, request.path) == ("POST", "/v2/models/a%2Fb/infer")
    assert request.headers["Authorization"] == "Bearer key"
    length = int(request.headers[v2.HEAD])
    head, strings = json.loads(request.body[:length]), request.body[length:]
    assert head["parameters"] == {"conf_threshold": "0.3"}
    sizes = [(each["name"], each["parameters"]["binary_data_size"]) for each in head["inputs"]]
    assert sizes == [("pictures", 11), ("depth", 7)]
    assert strings == struct.pack("<I", 7) + b"picture" + struct.pack("<I", 3) + b"map"


@pytest.mark.parametrize(
    ("status", "content", "wanted"),
    [
        (200, b'[{"conf":1}]', (200, b'[{"conf":1}]')),
        (200, b'{"code":422,"type":"x","message":"y"}', (422, b'{"code":422,"type":"x","message":"y"}')),
        (503, b'{"error":"full"}', (503, b'{"code": 503, "type": "server_error", "message": "full"}')),
        (502, b"<html>", (502, b'{"code": 502, "type": "server_error", "message": "<html>"}')),
    ],
)
def test_a_reply_is_as_predictions_would_have_it(status: int, content: bytes, wanted: tuple[int, bytes]) -> None:
    head = b'{"outputs":[]}'
    body = head + struct.pack("<I", len(content)) + content if status == 200 else content
    found = v2.reply(Reply(status, body, {v2.HEAD.lower(): str(len(head))}))
    assert (found.status, found.body) == wanted


def test_grpcs_messages_are_those_of_the_protocol() -> None:
    """Fields by the numbers that the protocol gives them."""
    request = v2_grpc.TRITON.write("fd1", b"abc", {"masks": "none"}, None)
    assert request.SerializeToString(deterministic=True) == (
        b"\n\x03fd1" b'"\x0f\n\x05masks\x12\x06\x1a\x04none' b"*\x15\n\x08pictures\x12\x05BYTES\x1a\x02\x01\x01"
        b":\x07\x03\x00\x00\x00abc"
    )  # fmt: skip

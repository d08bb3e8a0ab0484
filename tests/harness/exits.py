"""Requests of v2 in the one form that TorchServe, Triton and LitServe take, and the processes of the latter two."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import psutil
import requests
from PIL import Image

from benchmarks.exits import Exit
from tests.harness.server import Server


def document(pictures: Sequence[bytes | str], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A request of v2, in the one shape that all take; text stands as it is, where base64 should."""
    data = [each if isinstance(each, str) else base64.b64encode(each).decode() for each in pictures]
    tensor = {"name": "pictures", "shape": [len(data), 1], "datatype": "BYTES", "data": data}
    return {"id": "seven", "parameters": parameters, "inputs": [tensor]}


def detections(answer: requests.Response, model: str = "fd1") -> list[str]:
    """The strings of an answer of v2, each of which is what a picture is answered with."""
    body = answer.json()
    (output,) = body["outputs"]
    assert (body["id"], body["model_name"]) == ("seven", model)
    assert (output["name"], output["datatype"], output["shape"][0]) == ("detections", "BYTES", len(output["data"]))
    return output["data"]


def asked(server: Server | Exit, sent: Mapping[str, Any], model: str = "fd1") -> requests.Response:
    return requests.post(f"{server.url}/v2/models/{model}/infer", json=sent, timeout=60)


def small(astronaut: bytes) -> bytes:
    """The photograph in few bytes, so that a body of many has arrived long before it is answered."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(astronaut)).resize((128, 128)).save(buffer, "JPEG")
    return buffer.getvalue()


def processes(server: Exit, what: str) -> list[int]:
    """Those below a server with that in their command line."""
    found = []
    for process in server.process.children(recursive=True):
        with suppress(psutil.Error):  # one that has just ended
            if what in " ".join(process.cmdline()):
                found.append(process.pid)
    return found

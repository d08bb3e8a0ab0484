"""Envelope: what one request holds, as bytes of a picture or in KServe's JSON forms, and the form of its answer.

::

    v1  {"instances": [{"data": "<base64>", "depth": "<base64>", "conf_threshold": 0.3}, …]}
        {"predictions": [[{"xywh_ratio": …}, …], …]}
    v2  {"id": "7", "parameters": {…}, "inputs": [{"name": "pictures", "shape": [1], "datatype": "BYTES",
         "data": ["<base64>", …], "parameters": {"conf_threshold": 0.3}}]}
        {"id": "7", "model_name": …, "outputs": [{"name": "detections", "datatype": "BYTES", "data": ["<json>", …]}]}

A picture that cannot be answered has its error in its place: an object with `code`, `type` and `message`. Depth maps
stand in a field `depth` beside their pictures, in v2 in an input of that name, in the order of the pictures.
"""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detserve.errors import BadPicture, BadRequest, RequestError, TooManyPictures
from detserve.worker.response import dumps

MAX_PICTURES = 32
"""The most pictures of one request: a worker answers them one after the other, and keeps all the answers."""
MAX_VALUES = 4096
"""The most values of one JSON body: small ones take twenty times their bytes once they are parsed."""
ROW_FIELDS = ("data", "image", "file", "body")
"""Where a picture's bytes may stand in what TorchServe hands over; "body" is the body of a request without a form."""
DEPTH = "depth"
"""The field of the depth map beside a picture."""
INSTANCE_FIELDS = ("data", "image", "image_bytes", "b64")
NO_PICTURE = "no picture in the request; send its bytes as the body (curl -T FILE) or as the multipart field 'data'"
NO_DEPTH = "the field 'depth' holds no depth map: send its bytes"

EncodedPicture = tuple[bytes | bytearray, Mapping[str, Any]]
"""A picture's bytes and the fields that come with it, options among them."""


@dataclass(frozen=True)
class Envelope(ABC):
    """One request: its pictures in their order, or what is wrong with each."""

    pictures: Sequence[EncodedPicture | RequestError]

    @abstractmethod
    def answer(self, contents: Sequence[Any], model: str, version: str) -> Any:
        """The body of the answer, made of the content for each picture: a list of objects, or an error's object."""


class PlainBody(Envelope):
    """A picture's bytes by themselves, answered with the content for that picture."""

    def answer(self, contents: Sequence[Any], model: str, version: str) -> bytes:
        """JSON of the one content."""
        return dumps(contents[0])


class V1(Envelope):
    """KServe's protocol v1, which is TensorFlow Serving's."""

    def answer(self, contents: Sequence[Any], model: str, version: str) -> bytes:
        """JSON of the predictions."""
        return dumps({"predictions": contents})


@dataclass(frozen=True)
class V2(Envelope):
    """KServe's protocol v2, the Open Inference Protocol. id: the caller's name for the request, if it has one."""

    id: str | None = None

    def answer(self, contents: Sequence[Any], model: str, version: str) -> bytes:
        """JSON with one output, whose strings are the JSON for each picture."""
        data = [dumps(content).decode() for content in contents]
        output = {"name": "detections", "shape": [len(data)], "datatype": "BYTES", "data": data}
        named = {} if self.id is None else {"id": self.id}
        return dumps({"model_name": model, "model_version": version, **named, "outputs": [output]})


@dataclass(frozen=True)
class SplitByTorchServe(Envelope):
    """A request that TorchServe's own envelope, `service_envelope` kserve or kservev2, has split into pictures.

    TorchServe's envelope also joins the answers: it takes a list of them, for v2 a list of strings.
    """

    strings: bool

    def answer(self, contents: Sequence[Any], model: str, version: str) -> list[Any]:
        """The contents, one for each picture."""
        return [dumps(content).decode() for content in contents] if self.strings else list(contents)


class Strings(Envelope):
    """The strings of a tensor, answered by as many: for a server that speaks v2 itself and hands over its data."""

    def answer(self, contents: Sequence[Any], model: str, version: str) -> list[bytes]:
        """JSON for each picture."""
        return [dumps(content) for content in contents]


def of_row(row: Mapping[str, Any]) -> Envelope:
    """A request as TorchServe hands it over: the body under "body" or "data", multipart fields under their names."""
    body = next((row[name] for name in ROW_FIELDS if name in row), None)
    try:
        # No format of pictures begins with a brace. TorchServe may have parsed a body that is declared as JSON.
        if isinstance(body, Mapping) or (isinstance(body, bytes | bytearray) and body[:64].lstrip()[:1] == b"{"):
            return parse(body)
    except RequestError as error:
        return PlainBody([error.without_traceback()])
    if not isinstance(body, bytes | bytearray):
        return PlainBody([BadPicture(NO_PICTURE)])
    if not isinstance(row.get(DEPTH, b""), bytes | bytearray):
        return PlainBody([BadPicture(NO_DEPTH)])
    return PlainBody([(body, row)])


def parse(body: bytes | bytearray | Mapping[str, Any]) -> Envelope:
    """Open one of the JSON forms. Raises BadRequest where it is none, TooManyPictures where it holds too much."""
    document = body if isinstance(body, Mapping) else _load(body)
    if isinstance(instances := document.get("instances"), list):
        _check_count(len(instances))
        return V1([_instance(instance) for instance in instances])
    if isinstance(inputs := document.get("inputs"), list):
        shared = _parameters(document)
        named = [isinstance(tensor, Mapping) and tensor.get("name") == DEPTH for tensor in inputs]
        pictures = [
            p for tensor, depth in zip(inputs, named, strict=True) if not depth for p in _tensor(tensor, shared)
        ]
        _check_count(len(pictures))
        depths = [d for tensor, depth in zip(inputs, named, strict=True) if depth for d in _tensor(tensor, {})]
        if depths:
            pictures = _beside(pictures, depths)
        name = document.get("id")
        return V2(pictures, name.encode("utf-8", "replace").decode() if isinstance(name, str) else None)
    raise BadRequest(
        "no picture in the JSON body: it wants a list 'instances' or 'inputs', or send a picture's bytes as the body "
        "(curl -T FILE)"
    )


def of_split_rows(rows: Sequence[Any], v2: bool) -> SplitByTorchServe:
    """What TorchServe's own envelope hands over: v1's instances, or v2's inputs, each with its first datum only."""
    if len(rows) > MAX_PICTURES:
        return SplitByTorchServe([_too_many(len(rows))] * len(rows), v2)
    pictures = [_picture(row.get("data"), _parameters(row)) if v2 else _instance(row) for row in rows]
    return SplitByTorchServe(pictures, v2)


def of_strings(
    pictures: Sequence[bytes], parameters: Mapping[str, Any], depths: Sequence[bytes] | None = None
) -> Strings:
    """The pictures of a tensor of v2, and of one with their depth maps: bytes as they are, or in base64 as in JSON.

    parameters: of the request, options among them.
    """
    fields = {name: value for name, value in parameters.items() if name != DEPTH}
    found = [_string(data, fields) for data in pictures]
    if depths is not None:
        try:
            found = _beside(found, [_string(data, {}) for data in depths])
        except BadRequest as error:
            found = [error.without_traceback()] * len(found)
    return Strings(found)


def _string(data: bytes, fields: Mapping[str, Any]) -> EncodedPicture | RequestError:
    # No picture is printable text up to there: each format has a size in binary near its beginning.
    text = data[:64]
    if text.isascii() and text.decode().replace("\r", "").replace("\n", "").isprintable():
        return _picture(data.decode("ascii", "replace"), fields)
    return data, fields


def _load(body: bytes | bytearray) -> Mapping[str, Any]:
    if sum(body.count(mark) for mark in b",[{") > MAX_VALUES:
        raise TooManyPictures(f"the JSON body holds more than {MAX_VALUES} values: send fewer pictures at once")
    try:
        document: Mapping[str, Any] = json.loads(body)
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body begins like JSON and is none: {error.msg}, at character {error.pos}") from None
    except (ValueError, RecursionError):  # bytes in no known encoding, or brackets nested too deep
        raise BadRequest("the body begins like JSON and is none") from None
    return document


def _check_count(count: int) -> None:
    if not count:
        raise BadRequest("the request holds no picture: give at least one in base64")
    if count > MAX_PICTURES:
        raise _too_many(count)


def _too_many(count: int) -> TooManyPictures:
    return TooManyPictures(
        f"{count} pictures in one request, of at most {MAX_PICTURES}: send the others in a further one"
    )


def _instance(instance: Any) -> EncodedPicture | RequestError:
    fields = instance if isinstance(instance, Mapping) else {"data": instance}
    return _picture(next((fields[name] for name in INSTANCE_FIELDS if name in fields), None), fields)


def _tensor(tensor: Any, shared: Mapping[str, Any]) -> list[EncodedPicture | RequestError]:
    """The pictures of one input of v2."""
    if not isinstance(tensor, Mapping) or tensor.get("datatype") != "BYTES" or not isinstance(tensor.get("data"), list):
        raise BadRequest("an input wants the datatype 'BYTES' and, as data, a flat list of pictures in base64")
    data, shape = tensor["data"], tensor.get("shape")
    _check_count(len(data))
    if shape not in ([len(data)], [len(data), 1]):
        raise BadRequest(f"an input of {len(data)} pictures has the shape [{len(data)}], not {str(shape)[:40]}")
    fields = {**shared, **_parameters(tensor)}
    return [_picture(encoded, fields) for encoded in data]


def _beside(
    pictures: Sequence[EncodedPicture | RequestError], depths: Sequence[EncodedPicture | RequestError]
) -> list[EncodedPicture | RequestError]:
    """The pictures, each with its depth map among its fields."""
    if len(pictures) != len(depths):
        raise BadRequest(f"{len(depths)} depth maps beside {len(pictures)} pictures: each needs its own")
    found: list[EncodedPicture | RequestError] = []
    for picture, depth in zip(pictures, depths, strict=True):
        if isinstance(picture, RequestError) or isinstance(depth, RequestError):
            found.append(picture if isinstance(picture, RequestError) else BadPicture(NO_DEPTH))
        else:
            found.append((picture[0], {**picture[1], DEPTH: depth[0]}))
    return found


def _parameters(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = holder.get("parameters")
    return parameters if isinstance(parameters, Mapping) else {}


def _picture(encoded: Any, fields: Mapping[str, Any]) -> EncodedPicture | RequestError:
    encoded, depth = (
        each.get("b64") if isinstance(each, Mapping) else each  # {"image": {"b64": "…"}}
        for each in (encoded, fields.get(DEPTH, ""))
    )
    if not isinstance(encoded, str):
        return BadPicture("no picture here: give its bytes in base64 as 'data'")
    if not isinstance(depth, str):
        return BadPicture("no depth map here: give its bytes in base64 as 'depth'")
    try:
        picture = _decoded(encoded)
    except ValueError as error:
        return BadPicture(f"the picture is not in base64: {error}")
    try:
        return picture, {**fields, DEPTH: _decoded(depth)} if DEPTH in fields else fields
    except ValueError as error:
        return BadPicture(f"the depth map is not in base64: {error}")


def _decoded(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)

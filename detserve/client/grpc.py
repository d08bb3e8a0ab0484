"""gRPC: one prediction of a TorchServe server, for blocking callers and for asyncio.

The messages are described here, field by field, so that nothing has to be generated from TorchServe's .proto files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

MAX_MESSAGE = 32 * 1024 * 1024
"""Bytes of the largest message in either direction, as config/config.properties has it for the server."""
PACKAGE = "org.pytorch.serve.grpc.inference"
METHOD = f"/{PACKAGE}.InferenceAPIsService/Predictions"
FIELD = "data"
"""The key of a picture in the map of inputs."""
DEPTH_FIELD = "depth"
"""And that of a depth map."""

_OPTIONS = [("grpc.max_send_message_length", MAX_MESSAGE), ("grpc.max_receive_message_length", MAX_MESSAGE)]


def channel(address: str) -> grpc.Channel:
    """A channel to "HOST:PORT" that takes messages of up to MAX_MESSAGE bytes; close it, or use it as a context."""
    return grpc.insecure_channel(address, _OPTIONS)


def aio_channel(address: str) -> grpc.aio.Channel:
    """The same for asyncio. Make it inside a running loop."""
    return grpc.aio.insecure_channel(address, _OPTIONS)


@dataclass(frozen=True)
class Protocol:
    """How a prediction is asked for and answered over gRPC.

    method: its path; messages: the classes of its messages, request and response by their names; write: a model, a
    picture, fields and a depth map → a request; read: the answer's bytes of a response.
    """

    method: str
    messages: Callable[[], Mapping[str, Any]]
    request: str
    response: str
    write: Callable[[str, bytes, Mapping[str, str], bytes | None], Any]
    read: Callable[[Any], bytes]

    def predict(
        self,
        channel: grpc.Channel,
        model: str,
        data: bytes,
        options: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        token: str | None = None,
        depth: bytes | None = None,
    ) -> bytes:
        """Send a picture to a model → the bytes of its answer: JSON of detections, or of an error where it was refused.

        options: fields of the request, {"conf_threshold": "0.3"} for instance; timeout: seconds; token: of a server
        that asks for one; depth: the map beside the picture, where the model wants one. Raises grpc.RpcError when the
        server does not answer, or has no such model.
        """
        request = self.write(model, data, options or {}, depth)
        return self.read(self._call(channel)(request, timeout=timeout, metadata=_metadata(token)))

    async def predict_async(
        self,
        channel: grpc.aio.Channel,
        model: str,
        data: bytes,
        timeout: float = 30.0,
        token: str | None = None,
        depth: bytes | None = None,
    ) -> bytes:
        """`predict` for asyncio."""
        request = self.write(model, data, {}, depth)
        return self.read(await self._call(channel)(request, timeout=timeout, metadata=_metadata(token)))

    def _call(self, channel: Any) -> Any:
        messages = self.messages()
        return channel.unary_unary(
            self.method,
            request_serializer=messages[self.request].SerializeToString,
            response_deserializer=messages[self.response].FromString,
        )


def _metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    """What a call carries beside its message. token: of a server that asks for one."""
    return (("authorization", f"Bearer {token}"),) if token else ()


Kinds = descriptor_pb2.FieldDescriptorProto


def field(to: Any, name: str, number: int, kind: int, label: int = Kinds.LABEL_OPTIONAL, of: str | None = None) -> None:
    """Describe a field of a message. of: the message that it is, with its package."""
    to.field.add(name=name, number=number, type=kind, label=label, type_name=of)


def entries(to: Any, name: str, number: int, package: str, kind: int, of: str | None = None) -> None:
    """Describe a map from strings, which is a repeated message of keys and values. kind, of: of its values."""
    entry = to.nested_type.add(name=f"{name.title()}Entry")
    entry.options.map_entry = True
    field(entry, "key", 1, Kinds.TYPE_STRING)
    field(entry, "value", 2, kind, of=of)
    field(to, name, number, Kinds.TYPE_MESSAGE, Kinds.LABEL_REPEATED, f".{package}.{to.name}.{entry.name}")


def classes(file: Any) -> Mapping[str, Any]:
    """The classes of a file's messages by name."""
    # A pool of our own: TorchServe's generated code, which may be imported too, has messages of the same names.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = (message.name for message in file.message_type)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}")) for name in names
    }


@cache
def messages() -> Mapping[str, Any]:
    """The classes of the two messages by name."""
    file = descriptor_pb2.FileDescriptorProto(name="detserve/inference.proto", package=PACKAGE, syntax="proto3")
    request = file.message_type.add(name="PredictionsRequest")
    field(request, "model_name", 1, Kinds.TYPE_STRING)
    field(request, "model_version", 2, Kinds.TYPE_STRING)
    entries(request, "input", 3, PACKAGE, Kinds.TYPE_BYTES)
    field(file.message_type.add(name="PredictionResponse"), "prediction", 1, Kinds.TYPE_BYTES)
    return classes(file)


def _write(model: str, data: bytes, options: Mapping[str, str], depth: bytes | None) -> Any:
    fields = {name: value.encode() for name, value in options.items()}
    if depth is not None:
        fields[DEPTH_FIELD] = depth
    return messages()["PredictionsRequest"](model_name=model, input={FIELD: data, **fields})


TORCHSERVE = Protocol(
    METHOD, messages, "PredictionsRequest", "PredictionResponse", _write, lambda response: bytes(response.prediction)
)
predict, predict_async = TORCHSERVE.predict, TORCHSERVE.predict_async

"""V2 over gRPC: one prediction of a server of KServe's protocol v2, Triton for instance.

The messages are described here, as far as they are used, so that nothing has to be generated from .proto files.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2

from detserve.client.grpc import Kinds, Protocol, classes, entries, field

PACKAGE = "inference"
METHOD = f"/{PACKAGE}.GRPCInferenceService/ModelInfer"


@cache
def messages() -> Mapping[str, Any]:
    """The classes of the messages by name."""
    file = descriptor_pb2.FileDescriptorProto(name="detserve/v2.proto", package=PACKAGE, syntax="proto3")
    parameter = file.message_type.add(name="InferParameter")
    field(parameter, "string_param", 3, Kinds.TYPE_STRING)
    tensor = file.message_type.add(name="InferInputTensor")
    field(tensor, "name", 1, Kinds.TYPE_STRING)
    field(tensor, "datatype", 2, Kinds.TYPE_STRING)
    field(tensor, "shape", 3, Kinds.TYPE_INT64, Kinds.LABEL_REPEATED)
    request = file.message_type.add(name="ModelInferRequest")
    field(request, "model_name", 1, Kinds.TYPE_STRING)
    entries(request, "parameters", 4, PACKAGE, Kinds.TYPE_MESSAGE, f".{PACKAGE}.InferParameter")
    # Triton has it inside of ModelInferRequest; on the wire there is no difference.
    field(request, "inputs", 5, Kinds.TYPE_MESSAGE, Kinds.LABEL_REPEATED, f".{PACKAGE}.InferInputTensor")
    field(request, "raw_input_contents", 7, Kinds.TYPE_BYTES, Kinds.LABEL_REPEATED)
    response = file.message_type.add(name="ModelInferResponse")
    field(response, "raw_output_contents", 6, Kinds.TYPE_BYTES, Kinds.LABEL_REPEATED)
    return classes(file)


def _write(model: str, data: bytes, options: Mapping[str, str], depth: bytes | None) -> Any:
    request = messages()["ModelInferRequest"](model_name=model)
    for name, value in options.items():
        request.parameters[name].string_param = value
    for name, content in {"pictures": data, "depth": depth}.items():
        if content is not None:
            request.inputs.add(name=name, datatype="BYTES", shape=[1, 1])
            request.raw_input_contents.append(struct.pack("<I", len(content)) + content)
    return request


def _read(response: Any) -> bytes:
    """The one string of the one output, which stands behind its length."""
    return bytes(response.raw_output_contents[0][4:])


TRITON = Protocol(METHOD, messages, "ModelInferRequest", "ModelInferResponse", _write, _read)

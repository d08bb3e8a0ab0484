"""A runtime that records: engines that were never built, and contexts that run nothing.

A serialised engine is JSON here: {"tensors": {name: {"kind": "float32", "input": true, "least": [...], "most": [...]},
name: {"kind": "float32", "open": [...]}}}, an output's shape with -1 for the batch; "contexts": how many there is
memory for; "refuses": the name of a call that fails.
"""

from __future__ import annotations

import json
from typing import Any

from . import enums

trt: Any = enums


class Runtime:
    """Deserialises: None for what is no engine, as TensorRT does."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def deserialize_cuda_engine(self, data: bytes | bytearray) -> Engine | None:
        try:
            return Engine(json.loads(bytes(data)))
        except ValueError:
            return None


class Engine:
    """An engine. calls: everything that was asked of it and its contexts, in order."""

    def __init__(self, described: dict[str, Any]) -> None:
        self.described, self.calls = described, list[tuple[Any, ...]]()
        self.tensors: dict[str, dict[str, Any]] = described["tensors"]
        self.num_io_tensors = len(self.tensors)
        self.contexts = described.get("contexts", 9)

    def serialize(self) -> bytes:
        return json.dumps(self.described).encode()

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return getattr(trt, self.tensors[name]["kind"])

    def get_tensor_mode(self, name: str) -> Any:
        return trt.TensorIOMode.INPUT if self.tensors[name].get("input") else trt.TensorIOMode.OUTPUT

    def create_execution_context(self) -> Context | None:
        if self.contexts == 0:
            return None
        self.contexts -= 1
        return Context(self)


class Context:
    """An execution context. It refuses what TensorRT refuses: shapes outside the profile, a run without addresses."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.refuses = engine, engine.described.get("refuses")
        self.batch: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def _call(self, name: str, *arguments: Any) -> bool:
        self.engine.calls.append((name, *arguments))
        return self.refuses != name

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        tensor = self.engine.tensors[name]
        assert tensor.get("input"), f"{name} is no input"
        fits = len(shape) == len(tensor["least"]) and all(
            a <= x <= b for a, x, b in zip(tensor["least"], shape, tensor["most"], strict=True)
        )
        if fits:
            self.batch[name] = tuple(shape)
        return self._call("set_input_shape", name, tuple(shape)) and fits

    def infer_shapes(self) -> list[str]:
        missing = [name for name, t in self.engine.tensors.items() if t.get("input") and name not in self.batch]
        return missing if self._call("infer_shapes") else [*missing, "nothing"]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self.batch:
            return self.batch[name]
        n = next(iter(self.batch.values()), (-1,))[0]
        return tuple(n if d == -1 else d for d in self.engine.tensors[name]["open"])

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert isinstance(address, int) and address > 0, f"{name} at {address}"
        self.addresses[name] = address
        return self._call("set_tensor_address", name, address)

    def execute_async_v3(self, stream: int) -> bool:
        assert self.addresses.keys() == self.engine.tensors.keys(), "a tensor without an address"
        return self._call("execute_async_v3", stream)

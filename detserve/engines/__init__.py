"""The backends, fastest first. Each module is one adapter; its runtime is imported only when it is used."""

from __future__ import annotations

import importlib

from detserve.engines.base import Engine
from detserve.errors import BackendMissing
from detserve.models.spec import ModelSpec

ADAPTERS = {
    "tensorrt": "detserve.engines.tensorrt:TensorRT",
    "openvino": "detserve.engines.openvino:OpenVINO",
    "onnx": "detserve.engines.onnx:Onnx",
    "torchscript": "detserve.engines.torchscript:TorchScript",
    "eager": "detserve.engines.eager:Eager",
}
"""Backend name → "module:class"."""


def find(name: str, spec: ModelSpec | None = None) -> type[Engine]:
    """The adapter of that name, or for "auto" the fastest one of this machine: of those that can run that model.

    Raises BackendMissing, saying what this machine lacks and how to get it.
    """
    if name == "auto":
        here = (adapter for adapter in map(_adapter, _by_speed()) if adapter.missing() is None)
        return next(adapter for adapter in here if spec is None or adapter.can_run(spec))
    adapter = _adapter(name)
    lack = adapter.missing()
    if lack is not None:
        raise BackendMissing(f"backend {name}: {lack}")
    return adapter


def available() -> list[str]:
    """The names of the backends that run on this machine, fastest first."""
    return [name for name in ADAPTERS if _adapter(name).missing() is None]


def _adapter(name: str) -> type[Engine]:
    if name not in ADAPTERS:
        raise BackendMissing(f"no backend {name!r}; there are auto, {', '.join(ADAPTERS)}")
    module, _, attribute = ADAPTERS[name].partition(":")
    adapter: type[Engine] = getattr(importlib.import_module(module), attribute)
    return adapter


def _by_speed() -> list[str]:
    """As listed. With a GPU: TensorRT, then ONNX Runtime if it was built for CUDA, then torch, which always is.

    torch runs no ONNX files, so the processor's come last.
    """
    from detserve.engines.onnx import Onnx
    from detserve.engines.torch_device import gpu_count

    if gpu_count() == 0:
        return list(ADAPTERS)
    return ["tensorrt", *(["onnx"] if Onnx.on_gpu() else []), "torchscript", "eager", "openvino", "onnx"]

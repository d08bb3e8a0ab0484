"""A stand-in for the package tensorrt where there is none: what torch2trt and detserve call of it, and no results.

`network` infers the shapes of a network's definition as TensorRT does for an open batch, and notes what TensorRT would
refuse. `runtime` records the calls on an engine and its contexts, and checks their order and arguments. Nothing is
computed: speed, numbers and memory are not to be had here.
"""

from __future__ import annotations

import warnings
from typing import Any

from .enums import *  # noqa: F403
from .network import Layer as ILayer
from .network import Network, Weights
from .runtime import Runtime

__version__ = "10.13.3.9"
__all__ = ["Builder", "ILayer", "Logger", "Network", "OnnxParser", "Runtime", "Weights"]


class IHostMemory(bytes):
    """A serialised engine."""


class IInt8Calibrator:
    """The base of calibrators."""


class Logger:
    """A logger. As a context manager it warns, as TensorRT's does from 8.5 on."""

    ERROR, WARNING, INFO, VERBOSE = 1, 2, 3, 4

    def __init__(self, level: int = WARNING) -> None:
        self.level = level

    def __enter__(self) -> Logger:
        warnings.warn("Context managers for TensorRT types are deprecated.", DeprecationWarning, stacklevel=2)
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Config:
    """A builder's configuration: what is set on it, and the calls, which all succeed."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: self.calls.append((name, *arguments)) or True


class Profile:
    """An optimisation profile."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(self, name: str, *shapes: Any) -> bool:
        self.shapes[name] = shapes
        return True


class Builder:
    """A builder. built: what it gives for a network, None, as TensorRT does where it fails, unless a test sets it."""

    built: bytes | None = None
    last: Builder

    def __init__(self, logger: Logger) -> None:
        Builder.last = self
        self.config, self.network, self.profile = Config(), Network(), Profile()

    def create_builder_config(self) -> Config:
        return self.config

    def create_network(self, flags: int) -> Network:
        return self.network

    def create_optimization_profile(self) -> Profile:
        return self.profile

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        return IHostMemory(self.built) if self.built is not None else None


class OnnxParser:
    """A parser that takes everything and makes nothing of it."""

    num_errors = 0

    def __init__(self, network: Network, logger: Logger) -> None:
        self.network = network

    def parse(self, model: bytes) -> bool:
        return True

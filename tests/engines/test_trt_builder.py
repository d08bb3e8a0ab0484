"""What torch2trt and TensorRT are asked for when an engine is built, and what is said when nothing comes of it."""

from __future__ import annotations

import sys
import warnings
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from detserve import models
from detserve.engines import trt_builder
from detserve.engines.base import EnginePlan
from detserve.engines.shapes import Shapes
from detserve.engines.sources.network import Preprocessed
from detserve.errors import EngineRejected

SPEC = models.find("centerface").override(size=(64, 32))
PLAN = EnginePlan(precision="fp16", max_batch=8, opt_batch=4)
SHAPES = Shapes.of(SPEC, PLAN)


class Module:
    """In the place of TRTModule: it keeps what it was made of."""

    def __init__(self, engine: Any, *names: Any) -> None:
        self.engine = engine


@pytest.fixture(autouse=True)
def asked(tensorrt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What torch2trt is asked for, by the names of its arguments; it builds `engine`."""
    found: dict[str, Any] = {"engine": None}

    def torch2trt(network: nn.Module, inputs: list[torch.Tensor], **arguments: Any) -> Module:
        found.update(arguments, inputs=[tuple(each.shape) for each in inputs])
        return Module(found["engine"])

    package = ModuleType("torch2trt")
    package.__dict__.update(torch2trt=torch2trt, TRTModule=Module)
    flattener = ModuleType("torch2trt.flattener")
    flattener.__dict__.update(Flattener=lambda *schema: schema)
    for module in (package, flattener):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    zeros = torch.zeros
    monkeypatch.setattr(nn.Module, "cuda", lambda self: self)
    monkeypatch.setattr(torch, "zeros", lambda *shape, device=None, **rest: zeros(*shape, **rest))
    return found


def source() -> Preprocessed:
    return Preprocessed(SPEC.architecture(), SPEC)


def test_torch2trt_is_given_the_whole_profile_and_memory_enough(asked: dict[str, Any]) -> None:
    asked["engine"] = b"engine"
    assert trt_builder.convert(source(), PLAN, SHAPES, None).engine == b"engine"
    assert asked["min_shapes"] == [(1, 3, 32, 64)]
    assert asked["opt_shapes"] == asked["inputs"] == [(4, 3, 32, 64)]
    assert asked["max_shapes"] == [(8, 3, 32, 64)]
    assert (asked["fp16_mode"], asked["int8_mode"]) == (True, False)
    assert asked["max_workspace_size"] == 1 << 30


def test_a_failed_build_is_an_engine_rejected() -> None:
    with pytest.raises(EngineRejected, match="TensorRT cannot build an engine of centerface"):
        trt_builder.convert(source(), PLAN, SHAPES, None)
    with pytest.raises(EngineRejected, match="TensorRT cannot build an engine of centerface"):
        trt_builder.parse(source(), PLAN, SHAPES)


def test_the_parser_gets_pixels_and_the_flags_of_the_precision(
    tensorrt: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt.Builder, "built", b"engine")
    assert trt_builder.parse(source(), PLAN, SHAPES).engine == b"engine"
    builder = tensorrt.Builder.last
    assert builder.profile.shapes == {"pixels": ((1, 32, 64, 3), (4, 32, 64, 3), (8, 32, 64, 3))}
    flags = [(name, *map(repr, rest)) for name, *rest in builder.config.calls[:-1]]
    assert flags == [("clear_flag", "TF32"), ("set_flag", "FP16")]


def test_what_the_parser_cannot_read_is_refused_in_its_own_words(
    tensorrt: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt.OnnxParser, "parse", lambda self, model: False)
    monkeypatch.setattr(tensorrt.OnnxParser, "num_errors", 1)
    error = SimpleNamespace(desc=lambda: "no such operator")
    monkeypatch.setattr(tensorrt.OnnxParser, "get_error", lambda self, i: error, raising=False)
    with pytest.raises(EngineRejected, match="cannot parse centerface: no such operator"):
        trt_builder.parse(source(), PLAN, SHAPES)


def test_torch2trts_own_warnings_are_no_errors_in_tests(tmp_path: Path, tensorrt: ModuleType) -> None:
    """Its first import warns of its escapes, and each engine of TensorRT's loggers; ours would still be errors."""
    path = tmp_path / "torch2trt" / "trt_module.py"
    path.parent.mkdir()
    path.write_text("import tensorrt\npattern = '\\d'\nwith tensorrt.Logger() as logger:\n    pass\n")
    spec = spec_from_file_location("torch2trt.trt_module", path)
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(module_from_spec(spec))
    with pytest.raises(DeprecationWarning):
        warnings.warn("of ours", DeprecationWarning, stacklevel=1)

"""A model that is an ONNX file, whatever its names inside are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from detserve import engines
from detserve.core.detections import Detections
from detserve.engines import sources
from detserve.engines.base import Device, EnginePlan
from detserve.errors import BadSpec
from detserve.models.spec import DetectorSpec, ModelSpec, OnnxSpec, Outputs, Weights

WEIGHTS = Weights(origin="made here", licence="Apache-2.0")


class _FindsNothing(DetectorSpec):
    def decode(self, outputs: Outputs, conf: Sequence[float]) -> list[Detections]:
        return [Detections.empty()] * len(conf)


@dataclass(frozen=True, kw_only=True)
class Summed(OnnxSpec, _FindsNothing):
    """The sum of each pixel's channels."""


def spec_of(kind: type[ModelSpec]) -> ModelSpec:
    return kind(
        name="sum",
        task="face",
        weights=WEIGHTS,
        outputs=("map",),
        size=(64, 32),
        mean=(1.0, 2.0, 3.0),
        std=(2.0, 4.0, 8.0),
    )


def write(path: Path, input_name: str, output_name: str) -> Path:
    """An ONNX file that adds the channels up, with names of that kind."""
    nodes = [
        helper.make_node("ReduceSum", [input_name, "detserve_mean"], ["detserve_float"], keepdims=1),
        helper.make_node("Identity", ["detserve_float"], [output_name]),
    ]
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [numpy_helper.from_array(np.array([1], np.int64), "detserve_mean")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(("input_name", "output_name"), [("x", "y"), ("pixels", "map"), ("map", "pixels")])
def test_its_names_are_never_in_the_way(tmp_path: Path, input_name: str, output_name: str) -> None:
    spec = spec_of(Summed)
    source = sources.of(spec, write(tmp_path / "sum.onnx", input_name, output_name))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), dtype=np.uint8)
    wanted = ((pixels - np.float32([1, 2, 3])) / np.float32([2, 4, 8])).sum(axis=3)[:, None]
    assert source.reference(pixels)["map"] == pytest.approx(wanted, abs=1e-3)
    for backend in {"onnx", "openvino"} & set(engines.available()):
        folder, plan = tmp_path / backend, EnginePlan(precision="fp32", max_batch=2)
        folder.mkdir()
        engines.find(backend).build(source, plan, folder)
        assert engines.find(backend)(folder, spec, plan, Device())(pixels)["map"] == pytest.approx(wanted, abs=1e-3)


def test_a_spec_of_another_kind_brings_its_source_or_is_told_to(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Bare(_FindsNothing):
        pass

    @dataclass(frozen=True, kw_only=True)
    class Own(_FindsNothing):
        def source(self, *weights: Path) -> sources.Source:
            return sources.of(spec_of(Summed), *weights)

    with pytest.raises(BadSpec, match=r"sum is neither a NetworkSpec nor an OnnxSpec: give it a method source"):
        sources.of(spec_of(Bare), tmp_path / "sum.onnx")
    own = sources.of(spec_of(Own), write(tmp_path / "sum.onnx", "x", "y"))
    assert own.reference(np.zeros((1, 32, 64, 3), np.uint8))["map"].shape == (1, 1, 32, 64)

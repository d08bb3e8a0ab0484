"""What stays in floats in an engine in int8, and that one is right at every shape that an input may have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detserve.engines.base import Device, EnginePlan
from detserve.engines.calibration import Calibration
from detserve.engines.openvino import FILE, OpenVINO
from detserve.engines.sources.network import Preprocessed
from detserve.models.rectangles import RectangularSpec
from detserve.models.spec import NetworkSpec, Weights
from tests.engines.test_engines import HalvesSpec


class Block(nn.Module):
    """What mobile networks are made of: a residual of a wide, a depthwise, a grouped and a narrow convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(16, 32, 1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.grouped = nn.Conv2d(32, 32, 3, padding=1, groups=2)
        self.narrow = nn.Conv2d(32, 16, 1)
        self.last = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = torch.relu(self.stem(x))
        inside = torch.relu(self.grouped(torch.relu(self.depthwise(torch.relu(self.wide(x))))))
        return (self.last(x + self.narrow(inside)),)


@dataclass(frozen=True, kw_only=True)
class BlockSpec(RectangularSpec, HalvesSpec, NetworkSpec):
    def architecture(self) -> nn.Module:
        return Block()


SPEC = BlockSpec(
    name="block",
    task="face",
    weights=Weights(origin="none", licence="CC0-1.0"),
    outputs=("map",),
    size=(128, 128),
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
)


@pytest.fixture(scope="module")
def folder(nncf: None, portraits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine of a block in int8."""
    folder = tmp_path_factory.mktemp("int8")
    source = Preprocessed(SPEC.architecture(), SPEC)
    OpenVINO.build(source, EnginePlan(precision="int8", max_batch=1), folder, Calibration.of([str(portraits)]))
    return folder


def test_depthwise_convolutions_and_sums_of_maps_stay_in_floats(folder: Path) -> None:
    import openvino

    def behind(operation: object) -> str:
        """What computes the map that goes into an operation."""
        return operation.input_value(0).get_node().get_type_name()

    operations = openvino.Core().read_model(folder / FILE).get_ordered_ops()
    convolutions = [each for each in operations if each.get_type_name() == "Convolution"]
    assert [behind(each) for each in convolutions] == ["FakeQuantize"] * 4
    grouped = [each for each in operations if each.get_type_name() == "GroupConvolution"]
    inputs = {each.input(1).get_partial_shape()[2].get_length(): behind(each) for each in grouped}
    assert inputs == {1: "Relu", 16: "FakeQuantize"}
    sums = [
        [value.get_node().get_type_name() for value in each.input_values()]
        for each in operations
        if each.get_type_name() == "Add"
    ]
    assert ["Relu", "Add"] in [sorted(kinds, reverse=True) for kinds in sums], "neither side of the residual is rounded"


def test_every_shape_of_an_input_is_right(folder: Path) -> None:
    plan = EnginePlan(precision="int8", max_batch=1)
    engine, source = OpenVINO(folder, SPEC, plan, Device()), Preprocessed(SPEC.architecture(), SPEC)
    assert len(SPEC.sizes) == 3
    for width, height in SPEC.sizes:
        pixels = np.random.default_rng(1).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
        found, wanted = engine(pixels)["map"], source.reference(pixels)["map"]
        assert found.shape == wanted.shape == (1, 1, height // 2, width // 2)
        error = np.abs(found - wanted).mean() / np.ptp(wanted)
        assert 0 < error < 0.02, (width, height)

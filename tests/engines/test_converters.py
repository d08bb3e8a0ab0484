"""Every network as TensorRT would get it: no axis is lost that it has to know, and none is fixed that stays open."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from detserve import models
from detserve.engines.sources.network import Preprocessed
from detserve.models.spec import NetworkSpec

HERE = Path(__file__).parent
NETWORKS = [name for name, spec in models.catalogue().items() if isinstance(spec, NetworkSpec)]
EXPORTED = ("centerface", "yolov5n-face")
"""One that goes through at once, and one whose channels are shuffled."""


@pytest.fixture(scope="module")
def torch2trt() -> Path:
    """The folder that holds the package: of the installed one, or as TORCH2TRT says."""
    if folder := os.environ.get("TORCH2TRT"):
        return Path(folder)
    package = importlib.util.find_spec("torch2trt")
    if package is None or package.origin is None:
        pytest.skip("torch2trt is not here: TORCH2TRT names a folder with its pinned commit")
    return Path(package.origin).parents[1]


@pytest.mark.slow
def test_torch2trt_converts_every_network_to_what_tensorrt_takes(torch2trt: Path) -> None:
    command = [sys.executable, "-W", "ignore", str(HERE / "convert.py"), str(torch2trt)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found.keys() == {name for name in NETWORKS if models.find(name).settings()["conversion"] == "torch2trt"}
    assert {name: each["problems"] for name, each in found.items() if each["problems"]} == {}
    for name, each in found.items():
        assert each["outputs"] == each["wanted"], name


@pytest.fixture(scope="module", params=EXPORTED)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """The network as TensorRT's ONNX parser would get it, with the shapes that follow from an open batch."""
    spec = models.find(request.param).override(size=(64, 64))
    assert isinstance(spec, NetworkSpec)
    path = tmp_path_factory.mktemp("onnx") / "network.onnx"
    Preprocessed(spec.architecture().eval(), spec).export(path)
    return onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True)


def test_the_channels_of_every_convolution_are_known(exported: onnx.ModelProto) -> None:
    """TensorRT refuses a convolution over an open axis of channels, by either way of conversion."""
    shapes = {v.name: v.type.tensor_type.shape.dim for v in [*exported.graph.value_info, *exported.graph.input]}
    convolutions = [node for node in exported.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    assert convolutions
    assert [node.name for node in convolutions if not shapes[node.input[0]][1].dim_value] == []


def test_bytes_go_into_a_cast_and_nowhere_else(exported: onnx.ModelProto) -> None:
    """TensorRT 10 takes them there alone."""
    assert [node.op_type for node in exported.graph.node if "pixels" in node.input] == ["Cast"]

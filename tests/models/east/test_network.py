"""EAST against the outputs of the reference implementation, layer keys included."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from detserve.errors import BadWeights
from detserve.models.checkpoints import load_strictly, read_state_dict
from detserve.models.east.network import EastNetwork
from detserve.models.vgg import vgg16_bn

OUTPUTS = ["score", "geometry"]
TOLERANCES = (2e-5, 0.02)
"""Of the score and of the geometry, whose distances reach 512 pixels."""


@pytest.fixture(scope="module")
def meta(shared: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shared / "golden/models/east_vgg16.json").read_text())
    return found


@pytest.fixture(scope="module")
def network(fill: Callable[..., Any], meta: dict[str, Any]) -> EastNetwork:
    """The network with the weights of the reference outputs."""
    filled = EastNetwork().eval()
    fill(filled.state_dict(), **meta["fill"])
    return filled


def picture(n: int, h: int, w: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(0).standard_normal((n, 3, h, w)).astype("float32"))


def test_state_dict_has_the_published_keys(network: EastNetwork, meta: dict[str, Any]) -> None:
    state = network.state_dict()
    found = [[key, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for key, tensor in state.items()]
    assert found == meta["keys"]
    assert sum(p.numel() for p in network.parameters()) == meta["parameters"]


def test_maps_are_those_of_the_reference(shared: Path, network: EastNetwork) -> None:
    outputs = network(picture(2, 96, 128))
    with np.load(shared / "golden/models/east_vgg16.npz") as arrays:
        for output, name, tolerance in zip(outputs, OUTPUTS, TOLERANCES, strict=True):
            np.testing.assert_allclose(output.numpy(), arrays[name], rtol=0, atol=tolerance)


def test_a_trace_keeps_batch_and_size_free(network: EastNetwork) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit itself; tracer warnings stay errors
        traced = torch.jit.trace(network, picture(1, 32, 64))
    x = picture(2, 64, 32)
    for found, wanted, tolerance in zip(traced(x), network(x), TOLERANCES, strict=True):
        assert found.shape[0] == 2 and found.shape[2:] == (16, 8)
        torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


def test_onnx_export_keeps_batch_and_size_free(network: EastNetwork, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    file = tmp_path / "network.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (picture(1, 32, 64),),
            file,
            input_names=["x"],
            output_names=OUTPUTS,
            dynamic_axes={key: {0: "n", 2: f"{key}_h", 3: f"{key}_w"} for key in ("x", *OUTPUTS)},
            dynamo=False,
            opset_version=17,
        )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    file.unlink()  # large, and pytest would keep it
    for x in (picture(2, 64, 32), picture(1, 32, 96)):
        outputs = session.run(OUTPUTS, {"x": x.numpy()})
        for found, wanted, tolerance in zip(outputs, network(x), TOLERANCES, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_load_with_and_without_prefix(prefix: str, tmp_path: Path) -> None:
    fresh, path = EastNetwork(), tmp_path / "weights.pth"
    state = fresh.state_dict().items()
    # Each tensor repeats one number of its own, so that the file is small.
    wanted = {key: torch.tensor(i, dtype=tensor.dtype).expand(tensor.shape) for i, (key, tensor) in enumerate(state)}
    torch.save({prefix + key: tensor for key, tensor in wanted.items()}, path)
    load_strictly(fresh, read_state_dict(path), path)
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in fresh.state_dict().items())


def test_the_weights_of_a_bare_vgg_are_told_by_their_keys(tmp_path: Path) -> None:
    path = tmp_path / "vgg16_bn.pth"
    state = vgg16_bn().state_dict().items()
    torch.save({f"features.{key}": torch.zeros(1).expand(tensor.shape) for key, tensor in state if tensor.ndim}, path)
    with pytest.raises(BadWeights) as caught:
        load_strictly(EastNetwork(), read_state_dict(path), path)
    assert str(caught.value) == (
        f"{path}: does not fit EastNetwork: "
        "126 missing: extractor.features.0.weight, extractor.features.0.bias, extractor.features.1.weight, …; "
        "78 unexpected: features.0.weight, features.0.bias, features.1.weight, …"
    )

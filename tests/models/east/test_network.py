"""EAST against the outputs of the reference implementation, layer keys included."""

from __future__ import annotations

import json
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
from tests.harness import networks

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
    assert networks.keys(network) == meta["keys"]
    assert sum(p.numel() for p in network.parameters()) == meta["parameters"]


def test_maps_are_those_of_the_reference(shared: Path, network: EastNetwork) -> None:
    outputs = network(picture(2, 96, 128))
    with np.load(shared / "golden/models/east_vgg16.npz") as arrays:
        for output, name, tolerance in zip(outputs, OUTPUTS, TOLERANCES, strict=True):
            np.testing.assert_allclose(output.numpy(), arrays[name], rtol=0, atol=tolerance)


def test_a_trace_keeps_batch_and_size_free(network: EastNetwork) -> None:
    traced = networks.trace(network, picture(1, 32, 64))
    x = picture(2, 64, 32)
    for found, wanted, tolerance in zip(traced(x), network(x), TOLERANCES, strict=True):
        assert found.shape[0] == 2 and found.shape[2:] == (16, 8)
        torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


def test_onnx_export_keeps_batch_and_size_free(network: EastNetwork, tmp_path: Path) -> None:
    free = {key: {0: "n", 2: f"{key}_h", 3: f"{key}_w"} for key in ("x", *OUTPUTS)}
    run = networks.onnx_of(network, picture(1, 32, 64), free, tmp_path / "network.onnx")
    for x in (picture(2, 64, 32), picture(1, 32, 96)):
        for found, wanted, tolerance in zip(run(x), network(x), TOLERANCES, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_load_with_and_without_prefix(prefix: str, tmp_path: Path) -> None:
    networks.check_checkpoint(EastNetwork(), prefix, tmp_path / "weights.pth")


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

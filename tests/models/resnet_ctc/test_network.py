"""None-ResNet-None-CTC against the outputs of the reference implementation, layer keys included."""

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
from detserve.models.resnet_ctc.network import ResNetCTC
from tests.harness import networks

TOLERANCE = 2e-4


@pytest.fixture(scope="module")
def meta(shared: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shared / "golden/models/str_none_resnet_none_ctc.json").read_text())
    return found


@pytest.fixture(scope="module")
def network(fill: Callable[..., Any], meta: dict[str, Any]) -> ResNetCTC:
    """The network with the weights of the reference outputs."""
    filled = ResNetCTC().eval()
    fill(filled.state_dict(), **meta["fill"])
    return filled


def words(n: int, w: int = 100) -> Tensor:
    return torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, (n, 1, 32, w)).astype("float32"))


def test_state_dict_has_the_published_keys(network: ResNetCTC, meta: dict[str, Any]) -> None:
    assert networks.keys(network) == meta["keys"]
    assert sum(p.numel() for p in network.parameters()) == meta["parameters"]


def test_logits_are_those_of_the_reference(shared: Path, network: ResNetCTC) -> None:
    with np.load(shared / "golden/models/str_none_resnet_none_ctc.npz") as arrays:
        np.testing.assert_allclose(network(words(2)).numpy(), arrays["logits"], rtol=0, atol=TOLERANCE)


def test_a_trace_keeps_batch_and_width_free(network: ResNetCTC) -> None:
    traced = networks.trace(network, words(1))
    x = words(3, 38)
    assert traced(x).shape == (3, 10, 37)
    torch.testing.assert_close(traced(x), network(x), rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_onnx_export_keeps_batch_and_width_free(network: ResNetCTC, tmp_path: Path) -> None:
    free = {"x": {0: "n", 3: "w"}, "logits": {0: "n", 1: "steps"}}
    run = networks.onnx_of(network, words(1), free, tmp_path / "network.onnx")
    for x in (words(3), words(2, 64)):
        (found,) = run(x)
        np.testing.assert_allclose(found, network(x).numpy(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_load_with_and_without_prefix(prefix: str, tmp_path: Path) -> None:
    networks.check_checkpoint(ResNetCTC(), prefix, tmp_path / "weights.pth")


def test_weights_of_another_alphabet_with_a_rectifier_are_told_by_their_keys(tmp_path: Path) -> None:
    fresh, path = ResNetCTC(), tmp_path / "weights.pth"
    other = {"Prediction.weight": (95, 512), "Prediction.bias": (95,), "Transformation.conv.weight": (64, 1, 3, 3)}
    state = networks.numbered(fresh) | {key: torch.zeros(shape) for key, shape in other.items()}
    torch.save({f"module.{key}": tensor for key, tensor in state.items()}, path)
    with pytest.raises(BadWeights) as caught:
        load_strictly(fresh, read_state_dict(path), path)
    assert str(caught.value) == (
        f"{path}: does not fit ResNetCTC: 1 unexpected: Transformation.conv.weight; "
        "2 of another shape: Prediction.weight is [95, 512], wanted [37, 512], Prediction.bias is [95], wanted [37]"
    )

"""CRAFT and its refiner against the outputs of the reference implementation, layer keys included."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detserve.errors import BadWeights
from detserve.models.checkpoints import load_strictly, read_state_dict
from detserve.models.craft.network import CraftNetwork, CraftRefined, RefineNetwork
from tests.harness import networks

OUTPUTS = ["text", "link"]
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def meta(shared: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shared / "golden/models/craft.json").read_text())
    return found


@pytest.fixture(scope="module")
def network(fill: Callable[..., Any], meta: dict[str, Any]) -> CraftRefined:
    """Both networks with the weights of the reference outputs."""
    both = CraftRefined().eval()
    for part in (both.craft, both.refine):
        fill(part.state_dict(), **meta["fill"])
    return both


def picture(n: int, h: int, w: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(0).standard_normal((n, 3, h, w)).astype("float32"))


@pytest.mark.parametrize("part", ["craft", "refine"])
def test_state_dicts_have_the_published_keys(network: CraftRefined, meta: dict[str, Any], part: str) -> None:
    module = network.get_submodule(part)
    assert networks.keys(module) == meta["keys"][part]
    assert sum(p.numel() for p in module.parameters()) == meta["parameters"][part]


def test_maps_are_those_of_the_reference(shared: Path, network: CraftRefined) -> None:
    x = picture(2, 96, 128)
    text, link = network.craft(x)
    _, features = network.craft.read(x)
    same_text, refined = network(x)
    assert torch.equal(same_text, text)
    with np.load(shared / "golden/models/craft.npz") as arrays:
        for found, wanted in (
            (torch.cat((text, link), 1), arrays["y"].transpose(0, 3, 1, 2)),
            (refined, arrays["refined"].transpose(0, 3, 1, 2)),
            (features[:, :, ::4, ::4], arrays["feature_sub4"]),
        ):
            np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("refined", [False, True])
def test_a_trace_keeps_batch_and_size_free(network: CraftRefined, refined: bool) -> None:
    module = network if refined else network.craft
    traced = networks.trace(module, picture(1, 32, 64))
    x = picture(2, 64, 32)
    for found, wanted in zip(traced(x), module(x), strict=True):
        assert found.shape == (2, 1, 32, 16)
        torch.testing.assert_close(found, wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("refined", [False, True])
def test_onnx_export_keeps_batch_and_size_free(network: CraftRefined, refined: bool, tmp_path: Path) -> None:
    module = network if refined else network.craft
    free = {key: {0: "n", 2: f"{key}_h", 3: f"{key}_w"} for key in ("x", *OUTPUTS)}
    run = networks.onnx_of(module, picture(1, 32, 64), free, tmp_path / "network.onnx")
    for x in (picture(2, 64, 32), picture(1, 32, 96)):
        for found, wanted in zip(run(x), module(x), strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("kind", [CraftNetwork, RefineNetwork])
def test_checkpoints_load_with_and_without_prefix(kind: type[nn.Module], prefix: str, tmp_path: Path) -> None:
    networks.check_checkpoint(kind(), prefix, tmp_path / "weights.pth")


def test_the_refiner_in_place_of_craft_is_told_by_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "refiner.pth"
    torch.save(networks.numbered(RefineNetwork()), path)
    with pytest.raises(BadWeights) as caught:
        load_strictly(CraftNetwork(), read_state_dict(path), path)
    assert str(caught.value) == (
        f"{path}: does not fit CraftNetwork: "
        "134 missing: basenet.slice1.0.weight, basenet.slice1.0.bias, basenet.slice1.1.weight, …; "
        "85 unexpected: last_conv.0.weight, last_conv.0.bias, last_conv.1.weight, …"
    )

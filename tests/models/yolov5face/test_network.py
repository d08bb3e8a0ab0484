"""The networks of yolov5-face against the outputs of the reference implementation, layer keys included."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from detserve.models.yolov5face.network import SPP, Shuffle
from detserve.models.yolov5face.spec import SPECS
from tests.harness import networks

BY_NAME = {spec.name: spec for spec in SPECS}
GOLDEN = {"n05": "yolov5n-0.5-face", "n": "yolov5n-face", "s": "yolov5s-face", "m": "yolov5m-face"}


def architecture(name: str) -> nn.Module:
    torch.manual_seed(0)
    return BY_NAME[name].architecture().eval()


def golden(shared: Path, file: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((shared / f"golden/models/yolov5face_{file}.json").read_text())
    return found


@pytest.mark.parametrize("file", GOLDEN)
def test_state_dict_has_the_published_keys(shared: Path, file: str) -> None:
    assert networks.keys(architecture(GOLDEN[file])) == golden(shared, file)["keys"]


@pytest.mark.parametrize("file", GOLDEN)
def test_anchor_buffers_hold_the_published_anchors(shared: Path, file: str) -> None:
    meta = golden(shared, file)
    buffers = {key.rpartition(".")[2]: b for key, b in architecture(GOLDEN[file]).named_buffers() if "anchor" in key}
    assert buffers["anchors"].tolist() == meta["anchors"]
    assert buffers["anchor_grid"].view(3, 3, 2).tolist() == meta["anchor_grid"]


@pytest.mark.parametrize("file", GOLDEN)
def test_heads_are_those_of_the_reference(shared: Path, fill: Callable[..., Any], file: str) -> None:
    network = architecture(GOLDEN[file])
    fill(network.state_dict(), **golden(shared, file)["fill"])
    x = np.random.RandomState(0).uniform(0, 1, (2, 3, 96, 128)).astype("float32")
    outputs = network(torch.from_numpy(x))
    with np.load(shared / f"golden/models/yolov5face_{file}.npz") as arrays:
        for output, key in zip(outputs, ("head_p3", "head_p4", "head_p5"), strict=True):
            n, _, h, w = output.shape
            head = output.view(n, 3, 16, h, w).permute(0, 1, 3, 4, 2).numpy()
            np.testing.assert_allclose(head, arrays[key], rtol=0, atol=3e-4)


def test_the_largest_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = BY_NAME["yolov5l-face"].architecture()
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 3) == 46.627


@pytest.mark.parametrize("name", ["yolov5n-0.5-face", "yolov5s-face"])
def test_a_trace_keeps_batch_and_size_free(name: str) -> None:
    network = architecture(name)
    traced = networks.trace(network, torch.rand(2, 3, 64, 96))
    x = torch.rand(3, 3, 128, 32)
    for found, wanted in zip(traced(x), network(x), strict=True):
        assert found.shape[0] == 3
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", ["yolov5n-0.5-face", "yolov5s-face"])
def test_onnx_export_keeps_the_batch_free(name: str, tmp_path: Path) -> None:
    network = architecture(name)
    free = {key: {0: "n"} for key in ("x", "a", "b", "c")}
    run = networks.onnx_of(network, torch.rand(1, 3, 64, 96), free, tmp_path / "network.onnx")
    for batch in (1, 3):
        x = torch.rand(batch, 3, 64, 96)
        for found, wanted in zip(run(x), network(x), strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-5)


def grouped_shuffle(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def test_interleaving_is_the_channel_shuffle_with_two_groups() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 8, 6, 4)
    split = Shuffle(8, 8, 1).eval()
    wanted = grouped_shuffle(torch.cat((x[:, :4], split.branch2(x[:, 4:])), 1))
    torch.testing.assert_close(split(x), wanted, rtol=0, atol=0)
    halving = Shuffle(8, 12, 2).eval()
    wanted = grouped_shuffle(torch.cat((halving.branch1(x), halving.branch2(x)), 1))
    torch.testing.assert_close(halving(x), wanted, rtol=0, atol=0)
    assert wanted.shape == (2, 12, 3, 2)


def test_pools_of_pools_are_the_larger_pools() -> None:
    torch.manual_seed(0)
    spp = SPP(8).eval()
    x = torch.randn(2, 8, 9, 5)
    y = spp.cv1(x)
    wanted = spp.cv2(torch.cat([y, *(max_pool2d(y, k, 1, k // 2) for k in (3, 5, 7))], 1))
    torch.testing.assert_close(spp(x), wanted, rtol=0, atol=0)

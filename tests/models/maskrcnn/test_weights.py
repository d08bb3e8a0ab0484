"""Checkpoints as users have them: several packings, older names; strict, and nothing in them is run."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detserve import models
from detserve.errors import BadWeights
from detserve.models.arrays import read_arrays
from detserve.models.maskrcnn import MaskRcnn, names
from detserve.models.maskrcnn.categories import Categories

STATE = {"backbone.a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "backbone.b": np.ones(2, np.float64)}


class Hostile:
    def __reduce__(self) -> Any:
        return os.system, ("touch detserve-hostile",)


def tensors() -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in STATE.items()}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_zoos_pickles_are_read(tmp_path: Path, protocol: int, wrapped: bool) -> None:
    path = tmp_path / "model_final.pkl"
    state: dict[str, Any] = OrderedDict(STATE)
    document = {"model": state, "__author__": "zoo", "matching_heuristics": True} if wrapped else state
    if protocol == 5:  # its arrays come out of bands, for which files have no place
        path.write_bytes(pickle.dumps({"model": {k: v.tolist() for k, v in STATE.items()}}, protocol))
        with pytest.raises(BadWeights, match="holds no weights"):
            read_arrays(path)
        return
    path.write_bytes(pickle.dumps(document, protocol))
    found = read_arrays(path)
    assert {key: value.tolist() for key, value in found.items()} == {key: v.tolist() for key, v in STATE.items()}
    assert all(value.dtype == torch.float32 for value in found.values())


@pytest.mark.parametrize("arrays", [False, True])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("prefix", ["", "module."])  # of a network that was trained on several GPUs
def test_files_of_torch_save_are_read(tmp_path: Path, arrays: bool, old: bool, prefix: str) -> None:
    path = tmp_path / "model_final.pth"
    state: dict[str, Any] = {prefix + key: value for key, value in (STATE if arrays else tensors()).items()}
    torch.save({"model": state, "iteration": 7}, path, _use_new_zipfile_serialization=not old)
    found = read_arrays(path)
    assert {key: value.tolist() for key, value in found.items()} == {key: v.tolist() for key, v in STATE.items()}


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_what_a_pickle_asks_for_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path, trace = tmp_path / "x.pkl", tmp_path / "detserve-hostile"
    document = {"model": {**STATE, "x": Hostile()}}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(document))
    else:
        torch.save(document, path)
    with pytest.raises(BadWeights, match=r"refused, nothing was run: it asks for posix\.system"):
        read_arrays(path)
    assert not trace.exists()


@pytest.mark.parametrize("data", [b"", b"hello", b"\x80\x02}q\x00", pickle.dumps({"model": 3}), pickle.dumps([1])])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(data)
    with pytest.raises(BadWeights, match=r"no checkpoint, or a damaged one|holds no weights"):
        read_arrays(path)


def spec(name: str, **settings: Any) -> MaskRcnn:
    found = models.find(name).override(**settings)
    assert isinstance(found, MaskRcnn)
    return found


def empty(name: str, **settings: Any) -> tuple[MaskRcnn, dict[str, Any], dict[str, torch.Tensor]]:
    """A model, its networks and a checkpoint that fits, all of shapes without values."""
    model = spec(name, **settings)
    with torch.device("meta"):
        networks = {part: model._network(part) for part in model.parts()}
        state = {key: torch.empty(shape) for key, shape in names.wanted(networks, model.rules, model.stem).items()}
    return model, networks, state


def fits(name: str, change: Any = None, **settings: Any) -> None:
    model, networks, state = empty(name, **settings)
    if change:
        state = change(state)
    names.load(networks, state, Path("x.pth"), model.rules, model.stem, model.frozen_epsilon)


def renamed(*pairs: tuple[str, str]) -> Any:
    def change(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        for new, old in pairs:
            state = {key.replace(new, old): value for key, value in state.items()}
        return state

    return change


@pytest.mark.parametrize("name", ["maskrcnn-r50-fpn", "maskrcnn-d2-r50-fpn", "maskrcnn-d2-r50-fpn-rgbd"])
def test_a_checkpoint_that_fits_is_taken(name: str) -> None:
    fits(name)


def test_older_names_of_torchvision_are_taken() -> None:
    older = [("rpn.head.conv.0.0", "rpn.head.conv")]
    older += [(f"{kind}_blocks.{i}.0.", f"{kind}_blocks.{i}.") for kind in ("inner", "layer") for i in range(4)]
    older += [(f"mask_head.{i}.0.", f"mask_head.mask_fcn{i + 1}.") for i in range(4)]
    fits("maskrcnn-r50-fpn", renamed(*older))


def test_what_detectron2_keeps_beside_weights_is_passed_over() -> None:
    extra = ["pixel_mean", "pixel_std", "proposal_generator.anchor_generator.cell_anchors.0"]
    extra.append("backbone.bottom_up.stem.conv1.norm.num_batches_tracked")  # with NORM: BN
    fits("maskrcnn-d2-r50-fpn", lambda state: {**state, **dict.fromkeys(extra, torch.zeros(3))})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {k: v for k, v in s.items() if "fc1" not in k}, "2 missing: roi_heads.box_head.fc1.weight"),
        (lambda s: {**s, "roi_heads.keypoint_head.x": torch.zeros(1)}, "1 unexpected: roi_heads.keypoint_head.x"),
        (lambda s: {f"{k}_w": v for k, v in s.items()}, "missing"),
        (lambda s: {"conv1_w": torch.zeros(1), "res2_0_branch2a_bn_s": torch.zeros(1)}, "Caffe2 .conv1_w, res2_0"),
    ],
)
def test_one_that_does_not_fit_is_refused_with_the_names(change: Any, words: str) -> None:
    with pytest.raises(BadWeights, match=words):
        fits("maskrcnn-d2-r50-fpn", change)


def test_one_of_other_classes_is_refused_with_both_counts() -> None:
    three = Categories(("a", "b", "c"), (0, 1, 2)).settings()
    model, networks, _ = empty("maskrcnn-d2-r50-fpn", **three)
    _, _, state = empty("maskrcnn-d2-r50-fpn")
    with pytest.raises(BadWeights, match=r"cls_score.weight is \[81, 1024\], wanted \[4, 1024\]"):
        names.load(networks, state, Path("x.pth"), model.rules, model.stem, 0.0)


@pytest.mark.parametrize(
    ("name", "counted", "frozen", "epsilon"),
    [
        ("maskrcnn-r50-fpn", True, 0.0, 1e-5),
        ("maskrcnn-r50-fpn", False, 0.0, 0.0),
        ("maskrcnn-r50-fpn", False, 1e-5, 1e-5),
        ("maskrcnn-d2-r50-fpn", False, 0.0, 1e-5),
    ],
)
def test_norms_that_count_batches_have_an_epsilon(
    monkeypatch: pytest.MonkeyPatch, name: str, counted: bool, frozen: float, epsilon: float
) -> None:
    folded, seen = names._folded, set()

    def watched(layer: names.Layer, state: Any, epsilon: float) -> Any:
        seen.add(epsilon)
        return folded(layer, state, epsilon)

    monkeypatch.setattr(names, "_folded", watched)
    counter = {"backbone.body.bn1.num_batches_tracked": torch.tensor(0)} if counted else {}
    fits(name, lambda state: {**state, **counter}, frozen_epsilon=frozen)
    assert seen == {epsilon}


@pytest.mark.parametrize("epsilon", [1e-5, 0.0])
def test_norms_are_folded_into_the_weights_before_them(epsilon: float) -> None:
    layer = names.Layer("features", "stem.conv1", "conv", "bn")
    state = {"conv.weight": torch.ones(1, 1, 1, 1), **{f"bn.{key}": torch.ones(1) for key in names.NORM}}
    state["bn.running_var"] = torch.full((1,), 1e-5)
    weight, bias = names._folded(layer, state, epsilon)
    gain = 1 / np.sqrt(1e-5 + epsilon)
    assert weight.item() == pytest.approx(gain) and bias.item() == pytest.approx(1 - gain)

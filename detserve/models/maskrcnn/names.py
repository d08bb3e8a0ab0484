"""Names: how torchvision and detectron2 call the layers, and their tensors as the weights of ours, norms folded in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from detserve.errors import BadWeights
from detserve.models.checkpoints import differences
from detserve.models.maskrcnn.convention import Convention
from detserve.models.maskrcnn.network import BLOCKS, BOX_SIDE, PYRAMID, Stem

EPSILON = 1e-5
"""Of a batch norm that was trained."""
NORM = ("weight", "bias", "running_mean", "running_var")
COUNTER = "num_batches_tracked"
CAFFE2 = re.compile(r"\w+_(?:w|b|s|bn_\w+|riv|rm)|lr|\w+_momentum")
"""Names of Caffe2's, conv1_w or res2_0_branch2a_bn_s for instance."""
IGNORED = re.compile(r"pixel_(?:mean|std)|proposal_generator\.anchor_generator\.cell_anchors\.\d+")
"""What checkpoints of detectron2 hold beside weights: the configuration says it too, and counts."""
DEPTH = ("depth_pixel_mean", "depth_pixel_std")
"""What those of the two stems must hold: how depth is normalised."""
OLDER = (
    (re.compile(r"^(rpn\.head\.conv)\.(weight|bias)$"), r"\1.0.0.\2"),
    (re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"^roi_heads\.mask_head\.mask_fcn(\d)\."), lambda found: f"roi_heads.mask_head.{int(found[1]) - 1}.0."),
)
"""How torchvision called some layers before 2022, and how it does since."""


@dataclass(frozen=True)
class Layer:
    """One layer. part: its network, "features", "boxes" or "masks"; ours: its name there; theirs: in the checkpoint;
    norm: of the batch norm behind it in the checkpoint, None where there is a bias instead."""

    part: str
    ours: str
    theirs: str
    norm: str | None = None


def layers(convention: Convention, stem: Stem) -> list[Layer]:
    """All layers of one model."""
    return list(_torchvision() if convention.name == "torchvision" else _detectron2(stem))


def wanted(networks: Mapping[str, nn.Module], convention: Convention, stem: Stem) -> dict[str, tuple[int, ...]]:
    """What a checkpoint must hold: name → shape, counters of batch norms aside."""
    found: dict[str, tuple[int, ...]] = {}
    for layer in layers(convention, stem):
        network = networks[layer.part]
        found[f"{layer.theirs}.weight"] = tuple(network.get_parameter(f"{layer.ours}.weight").shape)
        (channels,) = network.get_parameter(f"{layer.ours}.bias").shape
        names = [f"{layer.theirs}.bias"] if layer.norm is None else [f"{layer.norm}.{name}" for name in NORM]
        found |= dict.fromkeys(names, (channels,))
    return found | (dict.fromkeys(DEPTH, (1, 1, 1)) if stem == "two" else {})


def load(
    networks: Mapping[str, nn.Module],
    state: Mapping[str, Tensor],
    path: Path,
    convention: Convention,
    stem: Stem,
    frozen_epsilon: float,
) -> None:
    """Copy a checkpoint's tensors into the networks, every one and no other.

    frozen_epsilon: of batch norms that were frozen while torchvision trained, which keep no count of batches. Raises
    BadWeights, naming what is missing, unexpected or of another shape, and for Caffe2's names.
    """
    caffe2 = [name for name in state if CAFFE2.fullmatch(name)]
    if caffe2:
        raise BadWeights(
            f"{path}: has the names of Caffe2 ({', '.join(caffe2[:3])}, …), which are not served: load it with "
            "detectron2 and save the model's state_dict()"
        )
    counted = any(name.endswith(COUNTER) for name in state)
    state = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    if convention.name == "torchvision":
        state = {_newer(name): tensor for name, tensor in state.items()}
    else:
        state = {name: tensor for name, tensor in state.items() if not IGNORED.fullmatch(name)}
    problem = differences(wanted(networks, convention, stem), state)
    if problem:
        raise BadWeights(f"{path}: does not fit {convention.name}'s Mask R-CNN with these classes: {problem}")
    epsilon = EPSILON if counted or convention.name == "detectron2" else frozen_epsilon
    for layer in layers(convention, stem):
        weight, bias = _folded(layer, state, epsilon)
        if layer.theirs.endswith((".fc6", ".box_head.fc1")):  # regions come with their channels last
            weight = weight.view(len(weight), PYRAMID, BOX_SIDE**2).transpose(1, 2).reshape(len(weight), -1)
        module = networks[layer.part].get_submodule(layer.ours)
        with torch.no_grad():
            module.weight.copy_(weight)  # type: ignore[operator]
            module.bias.copy_(bias)  # type: ignore[operator]
    if stem == "two":
        features = networks["features"]
        for ours, theirs in zip(("mean", "std"), DEPTH, strict=True):
            features.get_buffer(ours)[0, 3] = state[theirs].flatten()


def _folded(layer: Layer, state: Mapping[str, Tensor], epsilon: float) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer with what its batch norm does to them, computed in float64."""
    weight = state[f"{layer.theirs}.weight"]
    if layer.norm is None:
        return weight, state[f"{layer.theirs}.bias"]
    gain, shift, mean, variance = (state[f"{layer.norm}.{name}"].double() for name in NORM)
    scale = gain / torch.sqrt(variance + epsilon)
    folded = weight.double() * scale.view(-1, *[1] * (weight.dim() - 1))
    return folded.float(), (shift - mean * scale).float()


def _newer(name: str) -> str:
    for pattern, replacement in OLDER:
        name = pattern.sub(replacement, name)
    return name


def _torchvision() -> Iterator[Layer]:
    body, heads = "backbone.body", "roi_heads"
    yield Layer("features", "stem.conv1", f"{body}.conv1", f"{body}.bn1")
    for stage, blocks in enumerate(BLOCKS):
        for block in range(blocks):
            ours, theirs = f"stages.{stage}.{block}", f"{body}.layer{stage + 1}.{block}"
            for i in (1, 2, 3):
                yield Layer("features", f"{ours}.conv{i}", f"{theirs}.conv{i}", f"{theirs}.bn{i}")
            if block == 0:
                yield Layer("features", f"{ours}.shortcut", f"{theirs}.downsample.0", f"{theirs}.downsample.1")
    for i in range(len(BLOCKS)):
        yield Layer("features", f"lateral.{i}", f"backbone.fpn.inner_blocks.{i}.0")
        yield Layer("features", f"output.{i}", f"backbone.fpn.layer_blocks.{i}.0")
    yield from _same("features", ("rpn", "logits", "deltas"), "rpn.head", ("conv.0.0", "cls_logits", "bbox_pred"))
    yield from _same("boxes", ("fc1", "fc2"), f"{heads}.box_head", ("fc6", "fc7"))
    yield from _same("boxes", ("scores", "deltas"), f"{heads}.box_predictor", ("cls_score", "bbox_pred"))
    yield from _same("masks", [f"conv.{i}" for i in range(4)], f"{heads}.mask_head", [f"{i}.0" for i in range(4)])
    yield from _same("masks", ("deconv", "logits"), f"{heads}.mask_predictor", ("conv5_mask", "mask_fcn_logits"))


def _detectron2(stem: Stem) -> Iterator[Layer]:
    body, heads = "backbone.bottom_up", "roi_heads"
    if stem == "two":
        names = [f"{branch}.conv{i}" for branch in ("rgb_stem", "d_stem") for i in (1, 2, 3)] + ["conv1x1"]
    else:
        names = ["conv1"]
    for name in names:
        yield Layer("features", f"stem.{name}", f"{body}.stem.{name}", f"{body}.stem.{name}.norm")
    for stage, blocks in enumerate(BLOCKS):
        for block in range(blocks):
            ours, theirs = f"stages.{stage}.{block}", f"{body}.res{stage + 2}.{block}"
            for name in ("conv1", "conv2", "conv3", *(["shortcut"] if block == 0 else [])):
                yield Layer("features", f"{ours}.{name}", f"{theirs}.{name}", f"{theirs}.{name}.norm")
    for i in range(len(BLOCKS)):
        yield Layer("features", f"lateral.{i}", f"backbone.fpn_lateral{i + 2}")
        yield Layer("features", f"output.{i}", f"backbone.fpn_output{i + 2}")
    rpn = "proposal_generator.rpn_head"
    yield from _same("features", ("rpn", "logits", "deltas"), rpn, ("conv", "objectness_logits", "anchor_deltas"))
    yield from _same("boxes", ("fc1", "fc2"), f"{heads}.box_head", ("fc1", "fc2"))
    yield from _same("boxes", ("scores", "deltas"), f"{heads}.box_predictor", ("cls_score", "bbox_pred"))
    yield from _same(
        "masks", [f"conv.{i}" for i in range(4)], f"{heads}.mask_head", [f"mask_fcn{i}" for i in range(1, 5)]
    )
    yield from _same("masks", ("deconv", "logits"), f"{heads}.mask_head", ("deconv", "predictor"))


def _same(part: str, ours: Sequence[str], prefix: str, theirs: Sequence[str]) -> Iterator[Layer]:
    """Layers without a norm, pair by pair."""
    for name, other in zip(ours, theirs, strict=True):
        yield Layer(part, name, f"{prefix}.{other}")

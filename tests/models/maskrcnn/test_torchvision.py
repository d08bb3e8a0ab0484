"""The convention of torchvision against the outputs of the reference implementation, from the picture to the masks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from detserve.core.letterbox import Letterbox
from detserve.core.masks import Masks
from detserve.models.maskrcnn.names import wanted
from tests.models.maskrcnn.goldens import ALL, DEFAULT, Golden, load, planar

MAPS, PROPOSALS, LOGITS, ROI = 1e-4, 5e-3, 5e-4, 2e-4
BOXES, SCORES, MASKS, PASTED = 0.01, 1e-4, 1e-3, 1e-4


@pytest.fixture(
    scope="module", params=["maskrcnn_r50_fpn", pytest.param("maskrcnn_r50_fpn_rgbd", marks=pytest.mark.slow)]
)
def golden(
    shared: Path, fill: Callable[..., Any], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Golden:
    folder = tmp_path_factory.mktemp("weights")
    return load(shared, request.param, fill, folder, min_size=160, max_size=224, size=[224, 224])


def values(golden: Golden, entry: str = "input") -> np.ndarray:
    """The reference's input, float [c, h, w] of 0 to 1, as [h, w, c] of 0 to 255."""
    return (golden.input(entry) * np.float32(255)).transpose(1, 2, 0)


def near(got: Any, wanted: np.ndarray, tolerance: float) -> None:
    assert np.abs(np.asarray(got) - wanted).max() < tolerance


def test_maps_proposals_and_heads_are_those_of_the_reference(golden: Golden) -> None:
    seen: dict[str, Any] = {}
    want = golden.arrays
    found = golden.found(values(golden), ALL, golden.spec.letterbox((224, 160)), seen)
    outputs = planar(seen["features"][1])
    steps = [4, 2, 1, 1]
    for i, step in enumerate(steps):
        near(outputs[i][:, ::8, ::step, ::step], want[f"fpn_{i}"], MAPS)
    near(outputs[3][:, ::8, ::2, ::2], want["fpn_pool"], MAPS)
    for i, step in enumerate([4, 2, 1, 1, 1]):
        near(outputs[4 + i][..., ::step, ::step], want[f"rpn_logits_{i}"], MAPS)
        near(outputs[9 + i][..., ::step, ::step], want[f"rpn_deltas_{i}"], MAPS)
    regions, (logits, deltas) = seen["boxes"]
    assert len(regions) == golden.meta["proposals"]
    near(regions[:4, ..., ::8].permute(0, 3, 1, 2), want["roi_features_top4_sub"], ROI)
    near(logits[:20], want["class_logits_top20"], LOGITS)
    near(deltas[:20], want["box_deltas_top20"], LOGITS)
    (mask_logits,) = seen["masks"][1]
    picked = mask_logits[want["mask_pick"], want["labels"][want["mask_pick"]]]
    near(picked, want["mask_logits_pick"], MASKS)
    assert (found.columns + 1).tolist() == want["labels"].tolist()
    near(found.boxes, want["boxes"], BOXES)
    near(found.scores, want["scores"], SCORES)
    masks = Masks(found.masks.numpy(), found.boxes.numpy(), "whole")
    for row, pasted in zip(want["mask_pick"], want["masks_pick"], strict=True):
        cut = masks.soft(row, (224, 160))
        whole = np.zeros_like(pasted)
        whole[cut.top : cut.top + len(cut.values), cut.left : cut.left + cut.values.shape[1]] = cut.values
        near(whole, pasted, PASTED)


@pytest.mark.slow
def test_thresholds_as_by_default(golden: Golden) -> None:
    found = golden.found(values(golden), DEFAULT, golden.spec.letterbox((224, 160)))
    assert (found.columns + 1).tolist() == golden.arrays["default_labels"].tolist()
    near(found.boxes, golden.arrays["default_boxes"], BOXES)
    near(found.scores, golden.arrays["default_scores"], SCORES)


def resized(planes: np.ndarray) -> np.ndarray:
    """The reference's second picture as it resizes it, floats [h, w, c]."""
    floats = torch.from_numpy(planes.transpose(2, 0, 1).astype(np.float32))[None]
    return interpolate(floats, size=(160, 195), mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()


def as_bytes(golden: Golden) -> np.ndarray:
    """That picture as it is sent."""
    return np.rint(values(golden, "input_batch2_second")).astype(np.uint8)


@pytest.mark.slow
def test_a_picture_that_is_scaled_and_padded(golden: Golden) -> None:
    placed = golden.spec.letterbox((176, 144))
    assert (placed.inner, placed.canvas) == ((195, 160), (224, 160))
    # The reference resizes floats, after it has normalised them.
    found = golden.found(resized(values(golden, "input_batch2_second")), ALL, placed)
    assert (found.columns + 1).tolist() == golden.arrays["batch2_labels_1"].tolist()
    boxes = placed.invert(found.boxes.numpy().reshape(-1, 2, 2)).reshape(-1, 4)
    near(boxes, golden.arrays["batch2_boxes_1"], BOXES)
    near(found.scores, golden.arrays["batch2_scores_1"], SCORES)


def test_what_is_laid_on_the_canvas_is_a_grey_level_from_the_references(golden: Golden) -> None:
    planes = as_bytes(golden)
    canvas = np.full((160, 224, planes.shape[2] + 1), 77, np.uint8)
    golden.spec.draw(planes, golden.spec.letterbox((176, 144)), canvas)
    assert (canvas[:, 195:] == 0).all() and (canvas[:, :195, -1] == 1).all()
    near(canvas[:, :195, :-1].astype(np.float32), resized(planes), 0.85)


@pytest.mark.slow
def test_what_is_served_of_it_is_what_the_reference_finds(golden: Golden) -> None:
    """Rounded to bytes twice: of objects that are alike sure, as here, some change their places in the list."""
    found, _ = golden.answer(as_bytes(golden), ALL)
    labels = [golden.spec.category_ids[golden.spec.categories.index(label)] for label in found.labels]
    apart = np.abs(golden.arrays["batch2_boxes_1"][:, None] - found.boxes).max(axis=2)
    apart[golden.arrays["batch2_labels_1"][:, None] != labels] = np.inf
    assert (apart.min(axis=1) < 0.3).sum() >= 18
    near(found.scores, golden.arrays["batch2_scores_1"], 0.01)


def test_a_checkpoint_must_hold_what_the_reference_holds(golden: Golden) -> None:
    expected = {key: tuple(shape) for key, shape, _ in golden.meta["keys"] if not key.endswith("num_batches_tracked")}
    assert wanted(golden.networks, golden.spec.rules, golden.spec.stem) == expected
    folded = sum(parameter.numel() for network in golden.networks.values() for parameter in network.parameters())
    norms = sum(shape[0] for key, shape, _ in golden.meta["keys"] if key.endswith("running_mean"))
    assert folded == golden.meta.get("parameters", folded) - norms  # weight and bias of a norm became one bias


def test_sizes_are_cut_and_a_long_picture_is_bounded(shared: Path, golden: Golden) -> None:
    assert golden.spec.letterbox((640, 100)) == Letterbox((640, 100), (224, 64), (224, 35), 0, 0)
    rows = json.loads((shared / "golden/models/maskrcnn_r50_fpn.json").read_text())["batch2"]["image_sizes"]
    assert rows == [[160, 224], [160, 195]]

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve.core.detections import Detections
from detserve.core.letterbox import Letterbox
from detserve.core.masks import Masks, Paste

SIDE = st.integers(1, 60)


def masks(*boxes: tuple[float, ...], paste: Paste = "exact", value: float = 1.0) -> Masks:
    return Masks(np.full((len(boxes), 28, 28), value, np.float32), np.array(boxes, np.float32), paste)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


@pytest.mark.parametrize("name", ["maskrcnn_r50_fpn", "maskrcnn_r50_fpn_rgbd"])
def test_whole_pixels_are_pasted_as_torchvision_does(shared: Path, name: str) -> None:
    golden = np.load(shared / f"golden/models/{name}.npz")
    pick = golden["mask_pick"]
    found = Masks(sigmoid(golden["mask_logits_pick"]), golden["boxes"][pick], "whole")
    for i, wanted in enumerate(golden["masks_pick"]):
        height, width = wanted.shape
        pasted = np.zeros_like(wanted)
        cut = found.soft(i, (width, height))
        pasted[cut.top : cut.top + len(cut.values), cut.left : cut.left + cut.values.shape[1]] = cut.values
        assert np.abs(pasted - wanted).max() < 1e-4


@pytest.mark.parametrize("name", ["maskrcnn_d2_r50_fpn", "maskrcnn_d2_r50_fpn_rgbd"])
def test_exact_boxes_are_pasted_as_detectron2_does(shared: Path, name: str) -> None:
    golden = np.load(shared / f"golden/models/{name}.npz")
    pick = golden["mask_pick"]
    found = Masks(sigmoid(golden["mask_logits_pick"]), golden["boxes"][pick], "exact")
    bits = np.unpackbits(golden["masks_bits"]).reshape(-1, 160, 224).astype(bool)[pick]
    for i, wanted in enumerate(bits):
        assert (found.pixels(i, (224, 160)) != wanted).sum() <= 1
        pasted = np.zeros((160, 224), np.float32)
        cut = found.soft(i, (224, 160))
        pasted[cut.top : cut.top + len(cut.values), cut.left : cut.left + cut.values.shape[1]] = cut.values
        # The reference has also the soft rim outside of the box, where no pixel can reach a half.
        inside = pasted[::2, ::2] > 0
        assert np.abs(pasted[::2, ::2] - golden["masks_soft_pick_sub"][i])[inside].max() < 1e-4


def test_a_full_mask_fills_its_box_and_no_more() -> None:
    assert np.argwhere(masks((2, 3, 6, 5)).pixels(0, (10, 8))).tolist() == [[y, x] for y in (3, 4) for x in range(2, 6)]


@given(st.tuples(*[st.floats(-30, 90)] * 4), SIDE, SIDE, st.sampled_from(["exact", "whole"]))
def test_a_cutout_lies_inside_of_the_picture(corners: tuple[float, ...], width: int, height: int, paste: Paste) -> None:
    x1, x2 = sorted(corners[:2])
    y1, y2 = sorted(corners[2:])
    found = masks((x1, y1, x2, y2), paste=paste)
    cut = found.cut(0, (width, height))
    assert cut.left >= 0 and cut.top >= 0
    assert cut.left + cut.values.shape[1] <= width and cut.top + cut.values.shape[0] <= height
    assert found.pixels(0, (width, height)).sum() == cut.values.sum()


def test_masks_are_selected_with_their_detections() -> None:
    found = masks((0, 0, 4, 4), (4, 4, 8, 8), (8, 8, 9, 9))
    detections = Detections(found.boxes, np.array([0.9, 0.8, 0.7], np.float32), masks=found)
    picked = detections[[2, 0]]
    assert picked.masks is not None and picked.masks.boxes.tolist() == [[8, 8, 9, 9], [0, 0, 4, 4]]
    with pytest.raises(ValueError, match="masks"):
        replace(detections, masks=found[:2])


def test_a_letterbox_moves_masks_and_squeezes_none() -> None:
    letterbox = Letterbox(picture=(200, 100), canvas=(128, 64), inner=(100, 50), left=4, top=2)
    found = masks((-16, 2, 54, 27))
    detections = Detections(found.boxes, np.ones(1, np.float32), masks=found)
    moved = letterbox.invert_detections(detections)
    assert moved.boxes.tolist() == [[0, 0, 100, 50]]
    assert moved.masks is not None and moved.masks.boxes.tolist() == [[-40, 0, 100, 50]]


@pytest.mark.parametrize(
    ("values", "boxes", "paste"),
    [((2, 28, 27), (2, 4), "exact"), ((2, 28, 28), (1, 4), "exact"), ((2, 28, 28), (2, 4), "nearest")],
)
def test_what_does_not_fit_is_refused(values: tuple[int, ...], boxes: tuple[int, ...], paste: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        Masks(np.zeros(values, np.float32), np.zeros(boxes, np.float32), paste)  # type: ignore[arg-type]

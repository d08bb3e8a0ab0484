"""NMS, RoIAlign and anchors by themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detserve.models.maskrcnn import boxes, regions
from detserve.models.maskrcnn.anchors import anchors, cell_anchors
from detserve.models.maskrcnn.convention import DETECTRON2, TORCHVISION, Convention


@pytest.fixture(scope="module")
def operations(shared: Path) -> dict[str, np.ndarray]:
    return dict(np.load(shared / "golden/post/detection_ops.npz"))


@pytest.mark.parametrize("percent", [30, 50, 70])
def test_suppression_is_that_of_the_reference(operations: dict[str, np.ndarray], percent: int) -> None:
    found, scores, classes = (torch.from_numpy(operations[key]) for key in ("boxes", "scores", "classes"))
    order = scores.argsort(descending=True, stable=True)
    found, classes = found[order], classes[order]
    assert order[boxes.nms(found, percent / 100)].tolist() == operations[f"nms_{percent}"].tolist()
    whole = operations[f"batched_nms_{percent}"].tolist()
    assert order[boxes.nms(found, percent / 100, classes)].tolist() == whole
    assert order[boxes.nms(found, percent / 100, classes, 50)].tolist() == whole[:50]


@pytest.mark.parametrize(
    ("key", "side", "rules"),
    [("roi7_s2", 7, TORCHVISION), ("roi14_s2", 14, TORCHVISION), ("roi7_adaptive_aligned", 7, DETECTRON2)],
)
def test_regions_are_those_of_the_reference(
    operations: dict[str, np.ndarray], key: str, side: int, rules: Convention
) -> None:
    maps, rois = torch.from_numpy(operations["feat"]), torch.from_numpy(operations["rois"])
    for (number, *corners), wanted in zip(rois.tolist(), operations[key], strict=True):
        (found,) = regions.roi_align(maps[int(number)].permute(1, 2, 0), torch.tensor([corners]), side, 1 / 8, rules)
        assert np.abs(found.permute(2, 0, 1).numpy() - wanted).max() < 1e-5


def test_anchors_are_those_of_the_reference(operations: dict[str, np.ndarray]) -> None:
    grids = [(40, 56), (20, 28), (10, 14), (5, 7), (3, 4)]
    found = torch.cat(anchors(grids, (160, 224), TORCHVISION, torch.device("cpu"))).numpy()
    assert len(found) == 8961
    assert found[::97].tolist() == operations["anchors_every97"].tolist()
    assert found[-24:].tolist() == operations["anchors_last24"].tolist()
    cells = np.stack([cell_anchors(level, TORCHVISION).numpy() for level in range(5)])
    assert cells.tolist() == operations["anchors_cell"].tolist()


def plain_align(feature: np.ndarray, box: np.ndarray, side: int, scale: float, rules: Convention) -> np.ndarray:
    """RoIAlign sample by sample, as its paper has it: [channels, h, w] → [side, side, channels]."""
    _, height, width = feature.shape
    x1, y1, x2, y2 = box * scale - (0.5 if rules.aligned else 0)
    w, h = (x2 - x1, y2 - y1) if rules.aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
    across, down = (rules.sampling or int(np.ceil(length / side)) for length in (w, h))
    found = np.zeros((side, side, len(feature)))
    for bin_y, bin_x in np.ndindex(side, side):
        for i, j in np.ndindex(down, across):
            y = y1 + (bin_y + (i + 0.5) / down) * h / side
            x = x1 + (bin_x + (j + 0.5) / across) * w / side
            if not (-1 <= y <= height and -1 <= x <= width):
                continue
            y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
            low_y, low_x = int(y), int(x)
            high_y, high_x = min(low_y + 1, height - 1), min(low_x + 1, width - 1)
            v, u = y - low_y, x - low_x
            found[bin_y, bin_x] += (
                (1 - v) * (1 - u) * feature[:, low_y, low_x]
                + (1 - v) * u * feature[:, low_y, high_x]
                + v * (1 - u) * feature[:, high_y, low_x]
                + v * u * feature[:, high_y, high_x]
            ) / (across * down)
    return found


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.floats(-40, 120), st.floats(-40, 120), st.floats(0.5, 300), st.floats(0.5, 300)),
    st.sampled_from([TORCHVISION, DETECTRON2]),
)
def test_a_region_is_the_mean_of_its_samples(box: tuple[float, ...], rules: Convention) -> None:
    feature = np.random.default_rng(0).normal(size=(3, 9, 12)).astype(np.float32)
    corners = np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]], np.float32)
    cells = torch.from_numpy(feature).permute(1, 2, 0)
    (found,) = regions.roi_align(cells, torch.from_numpy(corners)[None], 7, 1 / 8, rules)
    wanted = plain_align(feature.astype(np.float64), corners.astype(np.float64), 7, 1 / 8, rules)
    # Where a sample lies within rounding of the border it may count or not.
    off = np.abs(found.numpy() - wanted).max(axis=2)
    assert (off > 1e-3).mean() <= 1 / 7


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 400), st.floats(0.1, 0.9), st.integers(1, 60))
def test_suppression_in_blocks_is_greedy_suppression(count: int, threshold: float, most: int) -> None:
    random = np.random.default_rng(count)
    corners = random.uniform(0, 100, (count, 2))
    found = np.concatenate([corners, corners + random.uniform(5, 60, (count, 2))], axis=1).astype(np.float32)
    classes = random.integers(0, 3, count)
    kept: list[int] = []
    overlaps = boxes.iou(torch.from_numpy(found), torch.from_numpy(found)).numpy()
    for i in range(count):
        if all(classes[i] != classes[k] or overlaps[k, i] <= threshold for k in kept):
            kept.append(i)
    tensors = torch.from_numpy(found), threshold, torch.from_numpy(classes)
    assert boxes.nms(*tensors).tolist() == kept
    assert boxes.nms(*tensors, most).tolist() == kept[:most]

"""The convention of detectron2 against the outputs of the reference implementation, from the picture to the masks."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detserve.models.maskrcnn import placing
from detserve.models.maskrcnn.anchors import anchors, cell_anchors
from detserve.models.maskrcnn.boxes import apply_deltas
from detserve.models.maskrcnn.convention import DETECTRON2
from detserve.models.maskrcnn.names import wanted
from detserve.models.maskrcnn.placing import depth_plane, letterbox
from detserve.models.maskrcnn.regions import cut, levels
from detserve.models.parts import Wish
from tests.models.maskrcnn.goldens import ALL, DEFAULT, Golden, load, planar
from tests.models.maskrcnn.test_torchvision import BOXES, LOGITS, MAPS, MASKS, PROPOSALS, ROI, SCORES, near

AREA = 3


def planes(golden: Golden, entry: str) -> np.ndarray:
    """The reference's picture, its colours turned to red, green, blue."""
    found = golden.input(entry)
    return np.ascontiguousarray(found[..., [2, 1, 0, 3][: found.shape[2]]])


def checked(detections: Any, golden: Golden, case: str, size: tuple[int, int]) -> None:
    """Boxes, labels, scores, areas of the masks."""
    want = golden.arrays
    first = {name: i for i, name in enumerate(golden.spec.categories)}
    assert [first[label] for label in detections.labels] == want[f"{case}labels"].tolist()
    near(detections.boxes, want[f"{case}boxes"], BOXES)
    near(detections.scores, want[f"{case}scores"], SCORES)
    areas = [detections.masks.cut(i, size).values.sum() for i in range(len(detections))]
    near(areas, want[f"{case}mask_areas"], AREA + 0.5)


def resized(canvas: np.ndarray, size: list[int]) -> np.ndarray:
    """What lies on the canvas, in the reference's order of channels."""
    height, width, channels = size
    assert (canvas[height:] == 0).all() and (canvas[:, width:] == 0).all()
    assert (canvas[:height, :width, -1] == 1).all()
    return canvas[:height, :width, [2, 1, 0, 3][:channels]]


@pytest.fixture(
    scope="module", params=["maskrcnn_d2_r50_fpn", pytest.param("maskrcnn_d2_r50_fpn_rgbd", marks=pytest.mark.slow)]
)
def golden(
    shared: Path, fill: Callable[..., Any], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Golden:
    folder = tmp_path_factory.mktemp("weights")
    return load(shared, request.param, fill, folder, min_size=160, max_size=224, size=[224, 224])


def test_maps_proposals_and_heads_are_those_of_the_reference(golden: Golden) -> None:
    seen: dict[str, Any] = {}
    want = golden.arrays
    detections, _ = golden.answer(planes(golden, "input"), ALL, seen)
    outputs = planar(seen["features"][1])
    for i, step in enumerate([4, 2, 1, 1]):
        near(outputs[i][:, ::8, ::step, ::step], want[f"fpn_p{i + 2}"], MAPS)
    near(outputs[3][:, ::8, ::2, ::2], want["fpn_p6"], MAPS)
    for i, step in enumerate([4, 2, 1, 1, 1]):
        near(outputs[4 + i][..., ::step, ::step], want[f"rpn_logits_{i}"], MAPS)
        near(outputs[9 + i][..., ::step, ::step], want[f"rpn_deltas_{i}"], MAPS)
    starts = anchors([each.shape[2:] for each in outputs[4:9]], (160, 224), DETECTRON2, torch.device("cpu"))[4]
    deltas = torch.from_numpy(outputs[13][0]).view(3, 4, 3, 4).permute(2, 3, 0, 1).reshape(-1, 4)
    near(apply_deltas(starts, deltas, (1.0, 1.0)), want["decoded_p6"], PROPOSALS)
    regions, (logits, moves) = seen["boxes"]
    assert len(regions) == golden.meta["proposals"]
    near(regions[:4, ..., ::8].permute(0, 3, 1, 2), want["roi_features_top4_sub"], ROI)
    near(logits[:20], want["class_logits_top20"], LOGITS)
    near(moves[:20], want["box_deltas_top20"], LOGITS)
    mask_regions, (mask_logits,) = seen["masks"]
    near(mask_regions[:1, ..., ::16].permute(0, 3, 1, 2), want["mask_roi_features_top1_sub"], ROI)
    near(mask_logits[want["mask_pick"], want["labels"][want["mask_pick"]]], want["mask_logits_pick"], MASKS)
    checked(detections, golden, "", (224, 160))
    bits = np.unpackbits(want["masks_bits"]).reshape(-1, 160, 224).astype(bool)
    for i, wanted_bits in enumerate(bits):
        assert (detections.masks.pixels(i, (224, 160)) != wanted_bits).sum() <= AREA


@pytest.mark.slow
def test_thresholds_as_by_default(golden: Golden) -> None:
    detections, _ = golden.answer(planes(golden, "input"), DEFAULT)
    first = {name: i for i, name in enumerate(golden.spec.categories)}
    assert [first[label] for label in detections.labels] == golden.arrays["default_labels"].tolist()
    near(detections.boxes, golden.arrays["default_boxes"], BOXES)
    near(detections.scores, golden.arrays["default_scores"], SCORES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entry", "case", "size", "field"),
    [
        ("input_batch2_second", "batch2_{}_1", (176, 144), "resized_1_crc32"),
        ("input_down", "down_{}", (504, 304), "resized_crc32"),
    ],
)
def test_pictures_that_are_resized(golden: Golden, entry: str, case: str, size: tuple[int, int], field: str) -> None:
    seen: dict[str, Any] = {}
    detections, canvas = golden.answer(planes(golden, entry), ALL, seen)
    meta = golden.meta[case.partition("_")[0]]
    shape = [*meta.get("image_sizes", [None, meta.get("resized", [])[:2]])[1], canvas.shape[2] - 1]
    assert zlib.crc32(np.ascontiguousarray(resized(canvas, shape)).tobytes()) == meta[field]
    names = ("boxes", "labels", "scores", "mask_areas")
    arrays = {name: golden.arrays[case.format(name)] for name in names}
    checked(detections, Golden(golden.meta, arrays, golden.spec, golden.weights), "", size)
    if "down_masks_0_1_bits" in golden.arrays and entry == "input_down":
        bits = np.unpackbits(golden.arrays["down_masks_0_1_bits"]).reshape(2, 304, 504).astype(bool)
        for i, wanted_bits in enumerate(bits):
            assert (detections.masks.pixels(i, size) != wanted_bits).sum() <= AREA


@pytest.mark.slow
def test_the_served_configuration_of_four_levels(shared: Path, fill: Callable[..., Any], tmp_path: Path) -> None:
    golden = load(
        shared, "maskrcnn_d2_r50_fpn", fill, tmp_path, "four_level", levels=4, min_size=416, max_size=1333,
        mean=[130.946, 142.507, 137.682], categories=["thing"], category_ids=[0],
    )  # fmt: skip
    case = golden.meta["four_level"]
    entered = Golden(case, golden.arrays, golden.spec, golden.weights)
    seen: dict[str, Any] = {}
    detections, canvas = entered.answer(planes(entered, "input"), Wish(conf=0.8, iou=0.5, most=100), seen)
    assert zlib.crc32(np.ascontiguousarray(resized(canvas, case["resized"])).tobytes()) == case["resized_crc32"]
    assert len(seen["boxes"][0]) == case["proposals"]
    checked(detections, entered, "four_level_", (320, 240))
    maps = seen["features"][1][:4]
    near(planar(maps)[1][:, ::32, ::4, ::4], golden.arrays["four_level_fpn_p3_sub"], MAPS)
    boxes = torch.from_numpy(golden.arrays["ops_boxes"])
    assert levels(boxes, DETECTRON2).tolist() == (golden.arrays["ops_levels"] - 2).tolist()
    near(cut(maps, boxes, 7, DETECTRON2)[..., ::32].permute(0, 3, 1, 2), golden.arrays["ops_roi_features_sub"], ROI)


@pytest.mark.slow
def test_the_served_configuration_of_two_stems(shared: Path, fill: Callable[..., Any], tmp_path: Path) -> None:
    golden = load(
        shared, "maskrcnn_d2_r50_fpn_rgbd", fill, tmp_path, "two_branch",
        categories=["a", "b", "c"], category_ids=[0, 1, 2],
    )  # fmt: skip
    case = golden.meta["two_branch"]
    entered = Golden(case, golden.arrays, golden.spec, golden.weights)
    depth = entered.input("input_depth_millimetres")[..., 0]
    whole = golden.spec.planes(planes(entered, "input_colour"), depth)
    assert zlib.crc32(whole[..., 3:].tobytes()) == case["depth_u8_crc32"]
    seen: dict[str, Any] = {}
    detections, canvas = entered.answer(whole, Wish(conf=0.8, iou=0.5, most=100), seen)
    assert zlib.crc32(np.ascontiguousarray(resized(canvas, case["resized"])).tobytes()) == case["resized_crc32"]
    near(planar(seen["features"][1])[1][:, ::32, ::4, ::4], golden.arrays["two_branch_fpn_p3_sub"], MAPS)
    checked(detections, entered, "two_branch_", (336, 240))
    bits = np.unpackbits(golden.arrays["two_branch_masks_0_1_bits"]).reshape(2, 240, 336).astype(bool)
    for i, wanted_bits in enumerate(bits):
        assert (detections.masks.pixels(i, (336, 240)) != wanted_bits).sum() <= AREA


def test_sizes_are_rounded_as_in_the_table(golden: Golden) -> None:
    for height, width, shortest, longest, new_height, new_width in golden.meta["resize_table"]["rows"]:
        assert letterbox((width, height), shortest, longest, DETECTRON2).inner == (new_width, new_height)


def test_a_checkpoint_must_hold_what_the_reference_holds(golden: Golden) -> None:
    expected = {key: tuple(shape) for key, shape, _ in golden.meta["keys"] if "pixel" not in key and "cell" not in key}
    assert wanted(golden.networks, golden.spec.rules, golden.spec.stem) == expected


def test_anchors_are_not_rounded(golden: Golden) -> None:
    for level, expected in enumerate(golden.arrays["cell_anchors"]):
        near(cell_anchors(level, DETECTRON2), expected, 1e-4)


def eight_bits(depth: np.ndarray, scale: float, bounds: tuple[float, float], relative: bool) -> list[list[int]]:
    plane = np.empty(depth.shape, np.uint8)
    depth_plane(depth, scale, bounds, relative, plane)
    return plane.tolist()


@pytest.mark.parametrize(
    ("millimetres", "bits"),
    [((0, 500, 10_000), (0, 12, 255)), ((20_000, 1, 5_000), (255, 0, 127))],
)
def test_depth_becomes_eight_bits_of_its_range(millimetres: tuple[int, ...], bits: tuple[int, ...]) -> None:
    depth = np.array([millimetres], np.uint16)
    assert eight_bits(depth, 0.001, (0.0, 10.0), False) == [list(bits)]


def test_depth_that_is_no_number_is_no_measurement() -> None:
    depth = np.array([[np.nan, np.inf, -np.inf, -3.0, 5.0]], np.float32)
    assert eight_bits(depth, 1.0, (0.0, 10.0), False) == [[0, 0, 0, 0, 127]]


@pytest.mark.parametrize("relative", [False, True])
def test_the_strips_of_a_large_map_are_those_of_one_map(monkeypatch: pytest.MonkeyPatch, relative: bool) -> None:
    depth = np.random.default_rng(0).integers(900, 1700, (40, 30)).astype(np.uint16)
    depth[33, 7] = 1100  # the least within the range of all strips is not in the first
    depth[depth < 1100] = 1100 if relative else 0
    whole = eight_bits(depth, 0.001, (1.0, 1.5), relative)
    assert eight_bits(depth.astype(np.float32), 0.001, (1.0, 1.5), relative) == whole
    monkeypatch.setattr(placing, "STRIP", 100)
    assert eight_bits(depth, 0.001, (1.0, 1.5), relative) == whole


def test_a_large_picture_with_depth_takes_few_bytes_a_pixel(golden: Golden) -> None:
    """Its planes are four; what else is made of it is made by strips."""
    spec = golden.spec.override(stem="four")
    rgb, depth = np.zeros((3000, 4000, 3), np.uint8), np.full((3000, 4000), 1200, np.uint16)
    placed = spec.letterbox((4000, 3000))
    canvas = np.empty((placed.canvas[1], placed.canvas[0], 5), np.uint8)
    tracemalloc.start()
    spec.draw(spec.planes(rgb, depth), placed, canvas)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5.5 * depth.size

"""Masks of an answer: run lengths and outlines agree with the pixels, and with each other."""

from __future__ import annotations

import tracemalloc
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from detserve.core.detections import Detections
from detserve.core.masks import Cutout, Masks
from detserve.worker import masks
from detserve.worker.response import objects

# Of pycocotools with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@st.composite
def cutouts(draw: st.DrawFn) -> tuple[Cutout, tuple[int, int], np.ndarray]:
    """A cutout, the picture's size, and the whole mask."""
    width, height = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    left, top = draw(st.integers(0, width)), draw(st.integers(0, height))
    across, down = draw(st.integers(0, width - left)), draw(st.integers(0, height - top))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = random.random((down, across)) < draw(st.sampled_from([0.0, 0.3, 0.7, 0.97, 1.0]))
    whole = np.zeros((height, width), bool)
    whole[top : top + down, left : left + across] = values
    return Cutout(left, top, values), (width, height), whole


@given(cutouts())
def test_run_lengths_are_those_of_the_whole_picture(case: tuple[Cutout, tuple[int, int], np.ndarray]) -> None:
    cut, size, whole = case
    counts = masks.run_lengths(cut, size)
    assert sum(counts) == whole.size
    assert np.repeat(np.arange(len(counts)) % 2 == 1, counts).tolist() == whole.ravel(order="F").tolist()
    wanted = coco.encode(np.asfortranarray(whole.astype(np.uint8)))
    found = masks.rle(cut, size)
    assert found["size"] == [size[1], size[0]]
    assert (coco.decode(found) == whole).all()
    assert found["counts"] == wanted["counts"].decode()


@given(cutouts())
def test_a_large_mask_is_read_by_strips(case: tuple[Cutout, tuple[int, int], np.ndarray]) -> None:
    cut, size, _ = case
    whole = masks.run_lengths(cut, size)
    with patch.object(masks, "STRIP", 20):
        assert masks.run_lengths(cut, size) == whole


def test_the_mask_of_a_large_picture_takes_less_than_a_byte_a_pixel() -> None:
    bits = np.ones((3000, 4000), bool)
    tracemalloc.start()
    assert masks.run_lengths(Cutout(0, 0, bits), (4000, 3000)) == [0, bits.size]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.7 * bits.size


@given(cutouts())
def test_outlines_filled_are_the_mask_with_its_holes_filled(
    case: tuple[Cutout, tuple[int, int], np.ndarray],
) -> None:
    import cv2

    cut, _, whole = case
    outlines = [np.rint(each - 0.5).astype(np.int32)[:, None] for each in masks.outlines(cut)]
    drawn = np.zeros(whole.shape, np.uint8)
    for outline in outlines:
        cv2.drawContours(drawn, [outline], 0, 1, -1)
    around = np.pad(whole, 1).astype(np.uint8)
    outside = np.zeros((around.shape[0] + 2, around.shape[1] + 2), np.uint8)
    cv2.floodFill(around, outside, (0, 0), 1, flags=4)
    filled = whole | ~outside[2:-2, 2:-2].astype(bool)
    assert (drawn.astype(bool) == filled).all()


def test_an_answer_has_labels_and_the_masks_that_were_asked_for() -> None:
    boxes = np.array([[10, 20, 60, 90], [0, 0, 30, 30]], np.float32)
    soft = Masks(np.ones((2, 28, 28), np.float32), boxes, "exact")
    ids = np.array([44, 1], np.int64)
    found = Detections(boxes, np.array([0.9, 0.5], np.float32), labels=("bottle", "person"), label_ids=ids, masks=soft)
    first, second = objects(found, (100, 120))
    assert (first["label"], first["label_id"], second["label"]) == ("bottle", 44, "person")
    assert first["mask_rle"]["size"] == [120, 100]
    mask = coco.decode(first["mask_rle"])
    assert mask.shape == (120, 100) and mask.sum() == 50 * 70 and mask[20:90, 10:60].all()
    outlined = objects(found, (100, 120), "polygon")[0]
    assert "mask_rle" not in outlined
    corners = [0.105, 0.170833, 0.105, 0.745833, 0.595, 0.745833, 0.595, 0.170833]
    assert outlined["polygons_ratio"] == [pytest.approx(corners, abs=1e-6)]
    assert objects(found, (100, 120), "none")[0].keys() == {"xywh_ratio", "conf", "label", "label_id"}

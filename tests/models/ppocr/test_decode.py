import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve.models.ppocr import decode as db

CASES = ("default", "no_dilation", "slow_score", "unclip_2.0")


def draw(shape: tuple[int, int], *rectangles: tuple) -> np.ndarray:
    """A map that is 0.9 inside each rectangle (centre, (width, height), degrees)."""
    probability = np.zeros(shape, np.float32)
    for rectangle in rectangles:
        cv2.fillPoly(probability, [cv2.boxPoints(rectangle).round().astype(np.int32)], 0.9)
    return probability


@pytest.mark.parametrize("name", CASES)
def test_quads_and_scores_are_those_of_pp_ocr(shared, name: str) -> None:
    case = json.loads((shared / "golden/post/db.json").read_text())["cases"][name]
    golden = np.load(shared / "golden/post/db.npz")
    height, width = case["picture_hw"]
    quads, scores = db.quads(
        golden["probability_u8"].astype(np.float32) / 256,
        size=(width, height),
        threshold=case["thresh"],
        box_threshold=case["box_thresh"],
        unclip=case["unclip_ratio"],
        dilate=case["use_dilation"],
        score=case["score_mode"],
    )
    assert quads.dtype == scores.dtype == np.float32
    # As a set: the order is that of cv2.findContours.
    ours = sorted(zip(quads.tolist(), scores, strict=True))
    theirs = sorted(zip(golden[f"{name}_quads"].tolist(), golden[f"{name}_scores"], strict=True))
    assert [quad for quad, _ in ours] == [quad for quad, _ in theirs]
    assert [score for _, score in ours] == pytest.approx([score for _, score in theirs], abs=1e-3)


@given(st.floats(20, 120), st.floats(8, 30), st.floats(-40, 40), st.floats(0.5, 2.5))
def test_a_rectangle_is_found_and_moved_outwards(width: float, height: float, degrees: float, unclip: float) -> None:
    probability = draw((300, 300), ((150, 150), (width, height), degrees))
    (quad,), (score,) = db.quads(probability, unclip=unclip, dilate=False)
    assert 0.7 < score <= np.float32(0.9)
    assert quad.mean(axis=0) == pytest.approx([150, 150], abs=1.5)
    assert cv2.contourArea(quad, oriented=True) > 0  # clockwise, y down
    drawn = cv2.minAreaRect(cv2.findNonZero((probability > 0).astype(np.uint8)))
    (a, b), sides = sorted(drawn[1]), sorted(np.linalg.norm(quad[1:3] - quad[:2], axis=1))
    assert sides == pytest.approx(np.array([a, b]) + a * b * unclip / (a + b), abs=3)
    if width > 2 * height:
        along = quad[1] - quad[0]
        assert np.degrees(np.arctan2(along[1], along[0])) == pytest.approx(degrees, abs=6)


@given(st.integers(0, 100), st.integers(0, 60))
def test_moving_the_map_moves_the_quads(right: int, down: int) -> None:
    word = draw((120, 160), ((80, 60), (70, 18), 12), ((80, 20), (50, 12), -5))
    moved = np.zeros((200, 300), np.float32)
    moved[down : down + 120, right : right + 160] = word
    quads, scores = db.quads(word)
    there, scores_there = db.quads(moved)
    assert len(quads) == 2
    # Corners are cut to whole pixels, and which of two fractions is cut may change by a rounding.
    assert there == pytest.approx(quads + np.array([right, down]), abs=1.5)
    assert scores_there == pytest.approx(scores, abs=0.02)


def test_quads_of_a_picture_are_whole_pixels_inside_it() -> None:
    probability = draw((100, 100), ((5, 5), (40, 20), 10), ((90, 95), (60, 16), 0))
    free, _ = db.quads(probability)
    assert free.min() < 0
    assert free.max() > 100
    quads, _ = db.quads(probability, size=(333, 250))
    assert len(quads) == 2
    assert (quads == quads.round()).all()
    assert quads.min() >= 0
    assert (quads.reshape(-1, 2).max(axis=0) <= (332, 249)).all()
    # So small a picture leaves sides of three pixels at most.
    assert [len(found) for found in db.quads(probability, size=(8, 8))] == [0, 0]


def test_what_is_small_or_uncertain_is_no_text() -> None:
    assert len(db.quads(draw((60, 60), ((30, 30), (30, 2), 0)), dilate=False)[0]) == 0
    assert len(db.quads(draw((60, 60), ((30, 30), (30, 8), 0)), dilate=False)[0]) == 1
    assert len(db.quads(draw((60, 60), ((30, 30), (30, 8), 0)), box_threshold=0.91)[0]) == 0
    assert len(db.quads(draw((60, 60), ((30, 30), (30, 8), 0)), threshold=0.9)[0]) == 0


def test_a_slow_score_leaves_out_what_the_rectangle_adds() -> None:
    corner = np.zeros((80, 80), np.float32)
    corner[10:70, 10:22] = corner[58:70, 10:70] = 0.9
    (fast,), (slow,) = (db.quads(corner, score=score, box_threshold=0, dilate=False)[1] for score in ("fast", "slow"))
    assert slow == pytest.approx(0.9, abs=1e-4)
    assert fast < 0.6


@pytest.mark.parametrize("size", [None, (50, 40)])
def test_an_empty_map_has_no_quads(size: tuple[int, int] | None) -> None:
    quads, scores = db.quads(np.zeros((32, 32), np.float32), size=size)
    assert quads.shape == (0, 4, 2)
    assert scores.shape == (0,)
    assert quads.dtype == scores.dtype == np.float32


def test_a_map_of_noise_has_no_more_candidates_than_allowed(monkeypatch) -> None:
    dots = np.zeros((200, 200), np.float32)
    for y in range(0, 200, 20):
        for x in range(0, 200, 20):
            dots[y : y + 8, x : x + 8] = 1
    assert len(db.quads(dots)[0]) == 100
    monkeypatch.setattr(db, "MAX_CANDIDATES", 30)
    assert len(db.quads(dots)[0]) == 30

import json

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from detserve.core import geometry
from detserve.models.east import decode as east

coordinates = st.floats(0, 300)
sides = st.floats(4, 120)
angles = st.floats(-3, 3)
rectangles = st.tuples(coordinates, coordinates, sides, sides, angles)


def quad(x: float, y: float, width: float, height: float, angle: float) -> np.ndarray:
    """A quad with its centre at x, y, turned clockwise, in radians."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    level = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    return (level @ turn + (x, y)).astype(np.float32)


def maps(shared) -> tuple[np.ndarray, np.ndarray]:
    golden = np.load(shared / "golden/post/east.npz")
    return golden["score_u8"].astype(np.float32) / 256, golden["geometry"]


@pytest.mark.parametrize("name", ["thr09", "thr08"])
def test_candidates_and_merged_quads_are_those_of_the_published_code(shared, name: str) -> None:
    case = json.loads((shared / "golden/post/east.json").read_text())["cases"][name]
    golden = np.load(shared / "golden/post/east.npz")
    quads, scores = east.decode(*maps(shared), layout="vgg16", threshold=case["score_threshold"])
    assert len(quads) == case["cells_over_threshold"]
    kept = east.inside(quads, (320, 224))
    quads, scores = quads[kept], scores[kept]
    assert quads.reshape(-1, 8) == pytest.approx(golden[f"{name}_candidates"][:, :8], abs=1e-3)
    assert scores.tolist() == golden[f"{name}_candidates"][:, 8].tolist()
    merged, weights, confidences = east.locality_nms(quads, scores, case["nms_threshold"])
    theirs = golden[f"{name}_lanms"]
    theirs = theirs[np.argsort(-theirs[:, 8])]
    assert merged.reshape(-1, 8) == pytest.approx(theirs[:, :8], abs=0.02)
    assert weights == pytest.approx(theirs[:, 8], abs=1e-3)
    assert ((confidences > case["score_threshold"]) & (confidences <= 1)).all()


def test_rotated_rectangles_and_kept_ones_are_those_of_the_opencv_sample(shared) -> None:
    case = json.loads((shared / "golden/post/east.json").read_text())["cases"]["opencv"]
    golden = np.load(shared / "golden/post/east.npz")
    score, geometry_ = maps(shared)
    quads, scores = east.decode(
        score, geometry_[[0, 3, 1, 2, 4]], layout="tensorflow", threshold=case["score_threshold"]
    )
    assert scores.tolist() == golden["opencv_scores"].tolist()
    across, down = quads[:, 1] - quads[:, 0], quads[:, 3] - quads[:, 0]
    degrees = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    rects = np.column_stack([quads.mean(axis=1), np.linalg.norm(across, axis=1), np.linalg.norm(down, axis=1), degrees])
    assert rects == pytest.approx(golden["opencv_rects"], abs=1e-3)
    assert east.nms(quads, scores, case["nms_threshold"]).tolist() == case["kept"]


@given(st.tuples(*[st.floats(1, 100)] * 4), st.floats(-1.5, 1.5), st.integers(0, 4), st.integers(0, 6))
def test_a_quad_lies_round_its_cell_at_the_distances_given(distances, angle: float, row: int, column: int) -> None:
    top, right, bottom, left = distances
    score, values = np.zeros((5, 7), np.float32), np.full((5, 5, 7), np.nan, np.float32)
    score[row, column] = 0.75
    values[:, row, column] = top, right, bottom, left, angle
    (found,), scores = east.decode(score, values, layout="tensorflow", threshold=0.75)
    assert scores.tolist() == [0.75]
    cell = np.array([4 * column, 4 * row])
    for i, distance in enumerate(distances):  # the sides from the top one clockwise
        along = (found[(i + 1) % 4] - found[i]).astype(np.float64)
        normal = np.array([-along[1], along[0]]) / np.linalg.norm(along)
        assert (cell - found[i]) @ normal == pytest.approx(distance, abs=1e-3)
    across = found[1] - found[0]
    assert np.arctan2(-across[1], across[0]) == pytest.approx(angle, abs=1e-3)  # counter-clockwise, y down
    (same,), _ = east.decode(score, values[[0, 2, 3, 1, 4]], layout="vgg16", threshold=0.75)
    assert same.tolist() == found.tolist()


def test_decode_takes_the_best_cells_of_too_many_in_their_order(monkeypatch) -> None:
    score = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)[::-1]
    values = np.ones((5, 4, 6), np.float32)
    # All but the one with score 0: no text, and no weight for a mean.
    assert len(east.decode(score, values, layout="vgg16", threshold=0)[0]) == 23
    monkeypatch.setattr(east, "MAX_CELLS", 8)
    quads, scores = east.decode(score, values, layout="vgg16", threshold=0)
    assert scores.tolist() == [*score[0], *score[1, 4:]]
    assert quads[:, 0].tolist() == quads[np.lexsort(quads[:, 0].T), 0].tolist()


def test_a_quad_with_two_corners_outside_is_left_out() -> None:
    places = [(50, 40), (95, 40), (5, 40), (50, 76), (50, 4)]
    level = np.stack([quad(x, y, 20, 10, 0) for x, y in places])
    assert east.inside(level, (100, 80)).tolist() == [True, False, False, False, False]
    tilted = quad(19, 40, 30, 30, 0.5)
    assert (tilted < 0).any(axis=1).sum() == 1
    assert east.inside(tilted[None], (100, 80))[0]
    assert not east.inside(np.array([[[100, 0], [100, 0], [0, 0], [0, 0]]], np.float32), (100, 80))[0]


@given(rectangles, rectangles, angles, coordinates, coordinates)
def test_iou_is_symmetric_and_does_not_change_when_all_moves(a, b, angle: float, x: float, y: float) -> None:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    one, other = quad(*a)[None].astype(np.float64), quad(*b)[None].astype(np.float64)
    (here,) = east.iou(one, other)
    assert -1e-9 <= here <= 1 + 1e-9
    assert east.iou(other, one)[0] == pytest.approx(here, abs=1e-9)
    assert east.iou(one @ turn + (x, y), other @ turn + (x, y))[0] == pytest.approx(here, abs=1e-9)
    rolled = np.roll(other, 1, axis=1)
    assert east.iou(one, rolled)[0] == pytest.approx(here, abs=1e-9)


@given(rectangles, st.floats(-1, 1))
def test_iou_of_quads_that_share_sides(a, part: float) -> None:
    one = quad(*a)[None].astype(np.float64)
    assert east.iou(one, one)[0] == pytest.approx(1, abs=1e-9)
    along = one + part * (one[:, 1:2] - one[:, :1])
    shared = 1 - abs(part)
    assert east.iou(one, along)[0] == pytest.approx(shared / (2 - shared), abs=1e-4)
    middle = one.mean(axis=1, keepdims=True)
    inner = middle + (one - middle) * part
    assert east.iou(one, inner)[0] == pytest.approx(part**2, abs=1e-4)


@given(st.lists(st.tuples(coordinates, coordinates, sides, sides), min_size=1, max_size=10))
def test_iou_of_level_quads_is_that_of_boxes(some) -> None:
    quads = np.stack([quad(*values, 0) for values in some])
    table = geometry.iou(quads[:, [0, 2]].reshape(-1, 4), quads[:, [0, 2]].reshape(-1, 4))
    for i, one in enumerate(quads):
        assert east.iou(quads, one) == pytest.approx(table[:, i], abs=1e-4)


def test_iou_of_quads_that_cross_as_a_star_and_of_empty_ones() -> None:
    square = quad(0, 0, 2, 2, 0)[None]
    turned = quad(0, 0, 2, 2, np.pi / 4)[None]
    octagon = 8 * (np.sqrt(2) - 1)
    assert east.iou(square, turned)[0] == pytest.approx(octagon / (8 - octagon), abs=1e-6)
    point, line = np.zeros((1, 4, 2), np.float32), quad(0, 0, 2, 0, 0.3)[None]
    for a, b in ((square, point), (point, square), (square, line), (line, square), (point, point), (line, line)):
        assert east.iou(a, b)[0] == pytest.approx(0, abs=1e-9)
    assert east.iou(np.empty((0, 4, 2), np.float32), square[0]).shape == (0,)


def one_by_one(quads: np.ndarray, scores: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Locality-aware merging as the paper writes it: each quad into the last group, or a group of its own."""
    groups: list[tuple[np.ndarray, float]] = []
    for here, score in zip(quads.astype(np.float64), scores.astype(np.float64), strict=True):
        if groups and east.iou(groups[-1][0][None], here)[0] > threshold:
            last, weight = groups[-1]
            groups[-1] = (last * weight + here * score) / (weight + score), weight + score
        else:
            groups.append((here, score))
    return np.array([g for g, _ in groups]), np.array([w for _, w in groups])


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.8), st.floats(0.5, 30))
def test_merging_in_rounds_is_merging_one_by_one(seed: int, threshold: float, spread: float) -> None:
    random = np.random.default_rng(seed)
    # A walk: neighbours overlap now more, now less.
    centres = np.cumsum(random.normal(0, spread, (60, 2)), axis=0)
    quads = np.stack([quad(x, y, 40, 20, random.normal(0, 0.1)) for x, y in centres])
    scores = random.uniform(0.5, 1, 60).astype(np.float32)
    merged, weights = one_by_one(quads, scores, threshold)
    order = east.nms(merged, weights, threshold)
    found, sums, means = east.locality_nms(quads, scores, threshold)
    assert found == pytest.approx(merged[order], abs=1e-3)
    assert sums == pytest.approx(weights[order], rel=1e-5)
    assert ((means >= 0.5) & (means <= 1)).all()


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.9))
def test_nms_keeps_what_opencv_keeps(seed: int, threshold: float) -> None:
    random = np.random.default_rng(seed)
    # All of one size: OpenCV drops what lies inside another, whatever the IoU.
    places = random.uniform([0, 0, -40], [90, 90, 40], (30, 3)).tolist()
    rects = [((x, y), (50.0, 20.0), degrees) for x, y, degrees in places]
    scores = random.permutation(30).astype(np.float32) / 30 + 0.01
    quads = np.stack([quad(*centre, *size, np.radians(degrees)) for centre, size, degrees in rects])
    # OpenCV's intersections may be wrong in the fourth digit.
    assume(all(np.abs(east.iou(quads, one) - threshold).min() > 2e-3 for one in quads))
    kept = east.nms(quads, scores, threshold)
    assert kept.tolist() == list(cv2.dnn.NMSBoxesRotated(rects, scores.tolist(), 0, threshold))


def test_nothing_merges_to_nothing() -> None:
    none = np.empty((0, 4, 2), np.float32), np.empty(0, np.float32)
    assert [len(part) for part in east.locality_nms(*none)] == [0, 0, 0]
    assert len(east.nms(*none, 0.5)) == 0
    score, values = np.zeros((4, 4), np.float32), np.zeros((5, 4, 4), np.float32)
    quads, scores = east.decode(score, values, layout="vgg16", threshold=0.5)
    assert quads.shape == (0, 4, 2)
    assert scores.shape == (0,)


def test_a_page_of_words_gives_each_of_them_once() -> None:
    random = np.random.default_rng(0)
    score, values = np.zeros((240, 240), np.float32), np.zeros((5, 240, 240), np.float32)
    words = [(x, y) for y in range(4, 230, 16) for x in range(4, 220, 24)]
    for x, y in words:
        rows, columns = np.mgrid[y : y + 5, x : x + 14]
        score[y : y + 5, x : x + 14] = random.uniform(0.9, 1, rows.shape)
        inside = np.stack([rows - y, y + 4 - rows, columns - x, x + 13 - columns]) * 4 + 6
        values[:4, y : y + 5, x : x + 14] = inside + random.normal(0, 0.7, inside.shape)
    quads, scores = east.decode(score, values, layout="vgg16", threshold=0.8)
    assert len(quads) > 5000
    merged, _, confidences = east.locality_nms(quads, scores)
    expected = [[4 * x - 6, 4 * y - 6, 4 * x + 58, 4 * y + 22] for x, y in words]
    assert len(merged) == len(words)
    by_place = merged[np.lexsort((merged[:, 0, 0], merged[:, 0, 1] // 64))]
    assert by_place[:, [0, 2]].reshape(-1, 4) == pytest.approx(np.array(expected), abs=1.5)
    assert ((confidences > 0.9) & (confidences < 1)).all()

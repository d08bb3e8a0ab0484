import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve.core.detections import Detections
from detserve.core.letterbox import Letterbox

sides = st.integers(1, 6000)
canvases = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda n: (32 * n[0], 32 * n[1]))
pictures = st.tuples(sides, sides)


@given(pictures, canvases)
def test_fit_keeps_the_aspect_and_fills_one_side(picture: tuple[int, int], canvas: tuple[int, int]) -> None:
    box = Letterbox.fit(picture, canvas)
    assert box.inner[0] == canvas[0] or box.inner[1] == canvas[1]
    ratio = min(canvas[0] / picture[0], canvas[1] / picture[1])
    for inner, side in zip(box.inner, picture, strict=True):
        assert abs(inner - side * ratio) <= 0.5 or inner == 1
    right, below = canvas[0] - box.inner[0] - box.left, canvas[1] - box.inner[1] - box.top
    assert right - box.left in (0, 1)
    assert below - box.top in (0, 1)


@given(pictures, canvases, st.lists(st.tuples(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5)), min_size=1, max_size=8))
def test_invert_undoes_the_placement(
    picture: tuple[int, int], canvas: tuple[int, int], ratios: list[tuple[float, float]]
) -> None:
    box = Letterbox.fit(picture, canvas)
    points = np.array(ratios) * picture
    placed = points * np.divide(box.inner, box.picture) + (box.left, box.top)
    back = box.invert(placed.astype(np.float32))
    # A millionth of a canvas side, seen through the scale: the rounding of float32.
    tolerance = 1e-6 * max(canvas) * max(np.divide(picture, box.inner)) * 4
    assert np.abs(back - points).max() <= tolerance


@given(pictures, canvases)
def test_corners_of_the_scaled_picture_invert_to_the_corners_of_the_picture(
    picture: tuple[int, int], canvas: tuple[int, int]
) -> None:
    box = Letterbox.fit(picture, canvas)
    corners = np.array([[box.left, box.top], [box.left + box.inner[0], box.top + box.inner[1]]], np.float32)
    assert box.invert(corners) == pytest.approx(np.array([[0, 0], picture]), rel=1e-6, abs=1e-3)


def test_detections_are_clipped_to_the_picture_but_landmarks_are_not() -> None:
    box = Letterbox.fit((200, 100), (64, 64))
    found = Detections(
        np.array([[-10, 0, 70, 40]], np.float32), np.ones(1, np.float32), np.array([[[-3.2, 16]]], np.float32)
    )
    back = box.invert_detections(found)
    assert back.boxes.tolist() == [[0, 0, 200, 75]]
    assert back.keypoints is not None
    assert back.keypoints[0, 0] == pytest.approx([-10, 0])


def test_apply_draws_the_picture_between_padding() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (30, 60, 3), dtype=np.uint8)
    canvas = np.full((64, 64, 3), 7, np.uint8)
    box = Letterbox((60, 30), (64, 64), (60, 30), 2, 17)
    box.apply(rgb, canvas, 114)
    assert (canvas[17:47, 2:62] == rgb).all()
    canvas[17:47, 2:62] = 114
    assert (canvas == 114).all()


def test_apply_takes_a_reduced_decode() -> None:
    box = Letterbox.fit((1280, 720), (320, 320))
    canvas = np.empty((320, 320, 3), np.uint8)
    box.apply(np.full((180, 320, 3), 9, np.uint8), canvas, 114)
    assert (canvas[70:250] == 9).all()


@given(st.tuples(*[st.integers(1, 60)] * 2), st.tuples(*[st.integers(1, 40)] * 2), st.integers(1, 3))
def test_what_is_drawn_is_the_picture_scaled(picture: tuple[int, int], size: tuple[int, int], reduction: int) -> None:
    """Bilinear, bicubic where it was decoded at a fraction; onto the canvas and nowhere else."""
    small = [-(-side // reduction) for side in picture]
    rgb = np.random.default_rng(0).integers(0, 256, (small[1], small[0], 3), dtype=np.uint8)
    box, canvas = Letterbox.fit(picture, size), np.full((size[1], size[0], 3), 7, np.uint8)
    box.apply(rgb, canvas, 114)
    how = cv2.INTER_LINEAR if tuple(small) == picture else cv2.INTER_CUBIC
    inside = canvas[box.top : box.top + box.inner[1], box.left : box.left + box.inner[0]]
    assert (inside == cv2.resize(rgb, box.inner, interpolation=how)).all()
    inside[...] = 114
    assert (canvas == 114).all()


@pytest.mark.parametrize("bad", [((0, 5), (64, 64), (1, 1), 0, 0), ((5, 5), (64, 64), (64, 64), 1, 0)])
def test_a_placement_that_cannot_be_is_refused(bad: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="must"):
        Letterbox(*bad)  # type: ignore[arg-type]


def test_geometry_and_pixels_are_those_of_yolov5(shared) -> None:
    table = json.loads((shared / "golden/post/letterbox.json").read_text())["geometry"]
    squares = [row for row in table if not row["auto"]]
    assert squares
    for row in squares:
        box = Letterbox.fit((row["w"], row["h"]), (row["new_shape"],) * 2)
        assert (box.left, box.top, *box.inner[::-1]) == (row["left"], row["top"], *row["inner_hw"])
    golden = np.load(shared / "golden/post/letterbox.npz")
    picture = np.random.RandomState(0).randint(0, 256, (6, 9, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    for side in (64, 128):
        canvas = np.empty((side, side, 3), np.uint8)
        Letterbox.fit((72, 48), (side, side)).apply(picture, canvas, 114)
        assert (canvas == golden[f"square_{side}"]).all()

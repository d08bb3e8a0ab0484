import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve.text.crops import crop, cut, fit, inset

PICTURE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def level(left: float, top: float, width: float, height: float) -> np.ndarray:
    right, bottom = left + width, top + height
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


@given(st.integers(0, 60), st.integers(0, 40), st.integers(1, 30), st.integers(1, 20))
def test_a_crop_of_a_level_quad_is_its_pixels(left: int, top: int, width: int, height: int) -> None:
    quad = level(left, top, width, height)
    text, turned = crop(PICTURE, quad)
    pixels = PICTURE[top : top + height, left : left + width]
    if height >= 1.5 * width:
        assert (text == np.rot90(pixels)).all()
        assert turned.tolist() == quad[[1, 2, 3, 0]].tolist()
    else:
        assert (text == pixels).all()
        assert turned.tolist() == quad.tolist()


@pytest.mark.parametrize("degrees", [-70, -30, 10, 45, 75])
def test_the_corners_of_a_crop_are_those_of_its_quad(degrees: float) -> None:
    quad = cv2.boxPoints(((150, 150), (120, 40), degrees)).astype(np.float32)
    # A colour that tells the place, so that each corner of the crop says where it comes from.
    y, x = np.mgrid[:300, :300]
    place = np.stack([x * 255 / 300, y * 255 / 300, np.zeros_like(x)], axis=2).round().astype(np.uint8)
    text, turned = crop(place, quad)
    height, width = text.shape[:2]
    assert (width, height) == pytest.approx((120, 40), abs=1)
    corners = text[[0, 0, -1, -1], [0, -1, -1, 0], :2] * (300 / 255)
    assert corners == pytest.approx(turned, abs=3)
    assert cv2.contourArea(turned, oriented=True) > 0  # clockwise still, y down


def test_a_crop_is_as_wide_and_high_as_the_longest_opposite_sides() -> None:
    text, _ = crop(PICTURE, np.array([[0, 0], [40.9, 0], [30, 20], [0, 25.9]], np.float32))
    assert text.shape == (25, 40, 3)


def test_a_quad_beyond_the_picture_repeats_its_border() -> None:
    text, _ = crop(PICTURE, level(-10, -5, 30, 20))
    padded = np.pad(PICTURE, ((5, 0), (10, 0), (0, 0)), mode="edge")
    assert (text == padded[:20, :30]).all()
    outside, _ = crop(PICTURE, level(200, 200, 8, 8))
    assert (outside == PICTURE[-1, -1]).all()


def test_what_lies_far_from_the_quad_does_not_matter() -> None:
    quad = np.array([[30, 20], [60, 25], [57, 43], [27, 38]], np.float32)
    wide = np.zeros((60, 40_000, 3), np.uint8)  # more than OpenCV warps
    wide[:, 39_000:39_090] = PICTURE
    there, _ = crop(wide, quad + np.array([39_000, 0], np.float32))
    assert (there == crop(PICTURE, quad)[0]).all()


@pytest.mark.parametrize("points", [[[5, 5]] * 4, [[5, 5], [20, 5], [20, 5], [5, 5]]])
def test_an_empty_quad_still_gives_a_picture(points: list[list[float]]) -> None:
    text, _ = crop(PICTURE, np.array(points, np.float32))
    assert min(text.shape[:2]) == 1
    assert text.dtype == np.uint8


@given(st.integers(1, 60), st.integers(1, 60))
def test_fit_scales_to_the_height_and_fills_the_right(width: int, height: int) -> None:
    text = np.ascontiguousarray(PICTURE[:height, :width])
    canvas, inner = fit(text, 16, 64, fill=127)
    height = min(height, 60)
    assert canvas.shape == (16, 64, 3)
    assert inner == 64 or abs(inner - 16 * width / height) <= 1
    assert (canvas[:, inner:] == 127).all()
    assert (canvas[:, :inner] == cv2.resize(text, (inner, 16))).all()
    assert canvas.dtype == np.uint8


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(-3, 3))
def test_pieces_of_a_quad_cover_it(inner: list[float], angle: float) -> None:
    edges = np.array([0, *sorted(inner), 1], np.float32)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    quad = (level(-50, -10, 100, 20) @ turn + 200).astype(np.float32)
    pieces = cut(quad, np.stack([edges[:-1], edges[1:]], axis=1))
    assert pieces.dtype == np.float32
    assert pieces[0, [0, 3]].tolist() == quad[[0, 3]].tolist()
    assert pieces[-1, [1, 2]] == pytest.approx(quad[[1, 2]], abs=1e-4)
    assert pieces[:-1, [1, 2]].tolist() == pieces[1:, [0, 3]].tolist()
    areas = [cv2.contourArea(piece, oriented=True) for piece in pieces]
    assert areas == pytest.approx(2000 * np.diff(edges), abs=0.1)


def test_a_piece_lies_along_the_quad() -> None:
    quad = np.array([[0, 0], [100, 0], [100, 40], [0, 20]], np.float32)
    pieces = cut(quad, np.array([[0.25, 0.5], [0, 1]], np.float32))
    assert pieces[0].tolist() == [[25, 0], [50, 0], [50, 30], [25, 25]]
    assert pieces[1].tolist() == quad.tolist()
    assert cut(quad, np.empty((0, 2), np.float32)).shape == (0, 4, 2)


def test_an_inset_quad_keeps_its_sides() -> None:
    quad = np.array([[0, 0], [100, 10], [90, 50], [-10, 40]], np.float32)
    inner = inset(quad, 0.25)
    assert inner.dtype == np.float32
    assert inner.tolist() == [[-2.5, 10], [97.5, 20], [92.5, 40], [-7.5, 30]]
    assert inset(quad, 0).tolist() == quad.tolist()

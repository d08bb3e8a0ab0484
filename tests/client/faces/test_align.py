"""Aligning: the transform against its definition, and faces in every position against where they are to lie."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve.client.faces.align import ARCFACE, SIDE, aligned, similarity


@given(st.floats(-np.pi, np.pi), st.floats(0.1, 20), st.floats(-500, 500), st.floats(-500, 500))
def test_what_was_turned_scaled_and_moved_is_brought_back(angle: float, scale: float, x: float, y: float) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = ARCFACE @ turn.T + (x, y)
    matrix = similarity(moved, ARCFACE)
    assert moved @ matrix[:, :2].T + matrix[:, 2] == pytest.approx(ARCFACE, abs=1e-6)


def test_nothing_is_closer_by_least_squares_and_nothing_is_mirrored() -> None:
    rng = np.random.default_rng(3)
    for source in (ARCFACE + rng.normal(0, 6, ARCFACE.shape), ARCFACE * (-1, 1)):
        matrix = similarity(source, ARCFACE)
        assert np.linalg.det(matrix[:, :2]) > 0

        def away(m: np.ndarray, source: np.ndarray = source) -> float:
            return float(((source @ m[:, :2].T + m[:, 2] - ARCFACE) ** 2).sum())

        for _ in range(200):
            angle, scale = rng.normal(0, 0.02), 1 + rng.normal(0, 0.02)
            turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            assert away(matrix) <= away(np.hstack([turn @ matrix[:, :2], matrix[:, 2:] + rng.normal(0, 0.2, (2, 1))]))


def drawn_face(angle: float, side: int) -> tuple[np.ndarray, list[float]]:
    """A picture with a dot of its own colour on each landmark of a face, turned → and where these are."""
    matrix = cv2.getRotationMatrix2D((56, 56), angle, side / SIDE)
    matrix[:, 2] += (200 - 56, 150 - 56)
    points = ARCFACE @ matrix[:, :2].T + matrix[:, 2]
    picture = np.zeros((300, 400, 3), np.uint8)
    for number, (x, y) in enumerate(points):
        cv2.circle(
            picture, (round(x), round(y)), round(6 * side / SIDE), (40 * (number + 1), 255 - 40 * number, 128), -1
        )
    return picture, points.ravel().tolist()


@pytest.mark.parametrize("angle", [0, 35, -120, 180])
@pytest.mark.parametrize("side", [112, 224])
def test_landmarks_lie_where_recognisers_want_them(angle: float, side: int) -> None:
    picture, landmarks = drawn_face(angle, 150)
    face = aligned(picture, landmarks, side)
    assert face.shape == (side, side, 3)
    for number, (x, y) in enumerate(ARCFACE * (side / SIDE)):
        colour = face[round(y), round(x)].astype(int)
        assert abs(colour - (40 * (number + 1), 255 - 40 * number, 128)).max() < 30, number


def test_the_subjects_right_eye_is_left_in_the_picture() -> None:
    right_eye, left_eye, nose, right_mouth, left_mouth = ARCFACE
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < nose[0] < left_mouth[0]
    assert right_eye[1] < nose[1] < right_mouth[1]


def test_landmarks_that_are_no_faces_are_refused() -> None:
    picture = np.zeros((50, 50, 3), np.uint8)
    with pytest.raises(ValueError, match="five landmarks, not 4"):
        aligned(picture, [1.0] * 8)
    with pytest.raises(ValueError, match="on one spot"):
        aligned(picture, [7.0] * 10)

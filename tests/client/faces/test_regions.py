"""Covering and cutting out: what is changed, what is not, and how little stays of what was there."""

from __future__ import annotations

import numpy as np
import pytest

from detserve.client.faces import SHAPES, STYLES
from detserve.client.faces.regions import cover, cut, region

CENTRE = [0.5, 0.5, 0.2, 0.4]


def noise(height: int = 200, width: int = 400) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_a_margin_grows_a_box_to_both_sides_together() -> None:
    assert region(CENTRE, (400, 200), 0) == (160, 60, 240, 140)
    assert region(CENTRE, (400, 200), 0.5) == (140, 40, 260, 160)


def test_what_is_cut_out_is_what_is_there() -> None:
    picture = noise()
    assert (cut(picture, {"xywh_ratio": CENTRE}, 0) == picture[60:140, 160:240]).all()
    assert (cut(picture, {"xywh_ratio": [0, 0, 0.2, 0.4]}, 0.5) == picture[:60, :60]).all()
    assert cut(picture, {"xywh_ratio": [-1, -1, 0.2, 0.4]}, 0).size == 0


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("flat", [False, True], ids=["colours", "a plane"])
def test_a_face_is_covered_and_nothing_else(style: str, shape: str, flat: bool) -> None:
    before = noise()[..., 0].copy() if flat else noise()
    after = before.copy()
    cover(after, [CENTRE], style, shape, 0.5)
    changed = (after != before) if flat else (after != before).any(axis=2)
    inside = np.zeros_like(changed)
    inside[40:160, 140:260] = True
    assert not changed[~inside].any()
    assert changed[60:140, 160:240].mean() > 0.95
    corner = changed[40:46, 140:146]
    assert corner.mean() > 0.9 if shape == "box" else not corner.any()


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.5])
def test_an_ellipse_covers_the_whole_face_however_small_its_margin(margin: float) -> None:
    random = np.random.default_rng(1)
    for centre, size in zip(random.uniform(-0.1, 1.1, (300, 2)), random.uniform(0.01, 0.6, (300, 2)), strict=True):
        face = [*centre, *size]
        picture = np.full((120, 180), 200, np.uint8)
        cover(picture, [face], "fill", "ellipse", margin)
        left, top, right, bottom = (max(0, edge) for edge in region(face, (180, 120), 0))
        assert not picture[top:bottom, left:right].any(), face


@pytest.mark.parametrize("style", STYLES)
def test_nothing_fine_stays(style: str) -> None:
    """Of noise, in which every pixel tells something, at most a spot of colour stays."""
    picture = noise()
    cover(picture, [CENTRE], style, "box", 0.5)
    part = picture[40:160, 140:260].astype(int)
    colours = len(np.unique(part.reshape(-1, 3), axis=0))
    assert colours <= {"mosaic": 9, "fill": 1, "gauss": 400}[style]
    assert part.std(axis=(0, 1)).max() < {"mosaic": 12, "fill": 1, "gauss": 12}[style]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shape", SHAPES)
def test_faces_at_the_edges_beyond_and_without_size_are_covered_as_far_as_they_go(style: str, shape: str) -> None:
    picture = noise()
    cover(picture, [[0, 0, 0.2, 0.2], [1, 1, 0.5, 0.5], [2, 2, 0.1, 0.1], [0.5, 0.5, 0, 0]], style, shape, 0.5)
    assert (picture[:10, :10] != noise()[:10, :10]).any()
    assert (picture[-10:, -10:] != noise()[-10:, -10:]).any()
    whole = noise(3, 3)
    cover(whole, [[0.5, 0.5, 5, 5]], style, shape, 0)
    assert len(np.unique(whole.reshape(-1, 3), axis=0)) <= 9

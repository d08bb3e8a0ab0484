import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detserve.models.craft import decode as craft

SETTINGS = {"default": (0.7, 0.4, 0.4), "alt": (0.7, 0.6, 0.3)}


def word(letters: np.ndarray, radius: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Text and link maps with a letter of that radius at each centre [k, 2], and a link between neighbours."""
    text, link = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for x, y in letters.round().astype(int).tolist():
        cv2.circle(text, (x, y), radius, 0.9, -1)
    for x, y in ((letters[1:] + letters[:-1]) / 2).round().astype(int).tolist():
        cv2.circle(link, (x, y), radius, 0.8, -1)
    return text, link


def arc(radius: float, letters: int = 9) -> np.ndarray:
    """Centres of letters on an arc that bends upwards, over a third of a circle."""
    angle = np.linspace(-np.pi / 3, np.pi / 3, letters)
    return np.stack([150 + radius * np.sin(angle), 150 - radius * np.cos(angle)], axis=1)


def level(letters: int, x: float = 30, y: float = 40, step: float = 12) -> np.ndarray:
    return np.stack([x + step * np.arange(letters), np.full(letters, y)], axis=1)


@pytest.mark.parametrize("name", SETTINGS)
def test_words_and_outlines_are_those_of_the_published_code(shared, name: str) -> None:
    golden = np.load(shared / "golden/post/craft.npz")
    text, link = (golden[key].astype(np.float32) / 256 for key in ("text_u8", "link_u8"))
    text_threshold, link_threshold, low_text = SETTINGS[name]
    quads, scores, outlines = craft.words(
        text, link, text_threshold=text_threshold, link_threshold=link_threshold, low_text=low_text
    )
    assert quads.dtype == scores.dtype == np.float32
    assert quads == pytest.approx(golden[f"{name}_boxes"], abs=1e-3)
    bent = [i for i, outline in enumerate(outlines) if outline is not None]
    assert bent == golden[f"{name}_poly_index"].tolist()
    assert np.array([outlines[i] for i in bent]) == pytest.approx(golden[f"{name}_polys"], abs=1e-2)


def test_a_score_is_the_highest_text_value() -> None:
    text, link = word(level(5), 6, (80, 120))
    text[40, 50] = 0.97
    assert craft.words(text, link)[1] == pytest.approx([0.97])
    text[40, 50] = 1.3  # the network has no sigmoid
    assert craft.words(text, link)[1].tolist() == [1]


def test_links_join_letters_and_are_no_part_of_the_quad() -> None:
    text, link = word(level(4, step=30), 6, (80, 200))
    apart, *_ = craft.words(text, np.zeros_like(link))
    assert len(apart) == 4
    link[38:43, 30:190] = 0.8  # joins all, and goes on to the right
    (joined,), *_ = craft.words(text, link)
    assert joined[:, 0].min() == pytest.approx(apart[..., 0].min(), abs=3)
    assert joined[:, 0].max() == pytest.approx(apart[..., 0].max(), abs=3)
    assert apart[..., 0].max() < 140


@given(st.integers(0, 80), st.integers(0, 60))
def test_moving_the_maps_moves_the_words(right: int, down: int) -> None:
    maps = word(arc(90), 9, (200, 300))
    moved = []
    for here in maps:
        there = np.zeros((280, 400), np.float32)
        there[down : down + 200, right : right + 300] = here
        moved.append(there)
    (quad,), scores, (outline,) = craft.words(*maps)
    (quad_there,), scores_there, (outline_there,) = craft.words(*moved)
    assert quad_there == pytest.approx(quad + np.array([right, down]), abs=1e-3)
    assert scores_there.tolist() == scores.tolist()
    assert outline is not None and outline_there is not None
    # The upright word may lose or gain a pixel by a rounding, and an end with it one of its seven places.
    assert outline_there[1:6] == pytest.approx(outline[1:6] + np.array([right, down]), abs=1.5)


@settings(max_examples=25)
@given(st.floats(80, 110), st.integers(8, 11))
def test_the_outline_of_a_bent_word_holds_its_letters_better_than_its_quad(radius: float, size: int) -> None:
    letters = arc(radius)
    text, link = word(letters, size, (220, 320))
    (quad,), _, (outline,) = craft.words(text, link)
    assert cv2.contourArea(quad, oriented=True) > 0  # clockwise, y down
    assert outline is not None
    assert outline.shape == (14, 2)
    assert cv2.contourArea(outline, oriented=True) > 0
    for x, y in letters.tolist():
        assert cv2.pointPolygonTest(outline, (x, y), False) > 0
    assert outline[0, 0] < letters[0, 0]
    assert cv2.contourArea(outline) < 0.9 * cv2.contourArea(quad)


@pytest.mark.parametrize("degrees", [0, 10, 25, -25])
def test_the_quad_of_a_straight_word_turns_with_it(degrees: float) -> None:
    angle = np.radians(degrees)
    letters = np.array([150, 100]) + np.outer(np.arange(-4, 5) * 14, [np.cos(angle), np.sin(angle)])
    (quad,), *_ = craft.words(*word(letters, 8, (200, 300)))
    along = quad[1] - quad[0]
    assert np.degrees(np.arctan2(along[1], along[0])) == pytest.approx(degrees, abs=3)
    assert quad.mean(axis=0) == pytest.approx([150, 100], abs=2)


def test_a_square_word_stands_level() -> None:
    text = np.zeros((80, 80), np.float32)
    cv2.fillPoly(text, [np.array([[40, 20], [60, 40], [40, 60], [20, 40]], np.int32)], 0.9)
    (quad,), *_ = craft.words(text, np.zeros_like(text))
    assert (quad[[0, 1], 1] == quad[0, 1]).all()
    assert quad[0].tolist() == quad.min(axis=0).tolist()


def test_words_do_not_change_each_other() -> None:
    shape = (200, 300)
    one, other = word(level(6), 6, shape), word(level(8, x=90, y=120), 7, shape)
    both = [np.maximum(a, b) for a, b in zip(one, other, strict=True)]
    apart = [craft.words(*maps)[0][0] for maps in (one, other)]
    assert craft.words(*both)[0].tolist() == [quad.tolist() for quad in apart]


def test_words_at_the_border_stay_on_the_map() -> None:
    quads, *_ = craft.words(*word(level(10, x=0, y=0), 8, (60, 110)))
    assert len(quads) == 1
    assert quads.min() >= -1e-3
    assert (quads.reshape(-1, 2).max(axis=0) <= (109.001, 59.001)).all()


def test_what_is_small_or_faint_is_no_word() -> None:
    text = np.zeros((50, 50), np.float32)
    assert [len(part) for part in craft.words(text, text)] == [0, 0, 0]
    text[10:13, 10:13] = 0.9
    assert len(craft.words(text, text)[0]) == 0
    text[10:13, 10:14] = 0.9
    assert len(craft.words(text, text)[0]) == 1
    assert len(craft.words(text, text, text_threshold=0.95)[0]) == 0


def test_links_alone_are_no_word_however_low_the_threshold() -> None:
    text, link = np.full((50, 50), 0.1, np.float32), np.zeros((50, 50), np.float32)
    link[10:30, 10:40] = 0.9
    assert len(craft.words(text, link, text_threshold=0)[0]) == 0

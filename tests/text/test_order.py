import json
from itertools import pairwise

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from detserve.text.order import corners, lines, reading_order

numbers = st.floats(-200, 200)
sides = st.floats(1, 200)


def rectangle(x: float, y: float, width: float, height: float, degrees: float = 0) -> np.ndarray:
    """A quad clockwise from the top left, turned clockwise about its centre x, y."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    level = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    return (level @ turn + (x, y)).astype(np.float32)


@given(numbers, numbers, st.floats(5, 200), st.floats(5, 200), st.floats(-80, 80), st.permutations(range(4)))
def test_corners_of_a_rectangle_in_any_order_start_at_its_top_left(x, y, width, height, degrees, order) -> None:
    quad = rectangle(x, y, width, height, degrees)
    across, down = abs(quad[1, 0] - quad[0, 0]), abs(quad[3, 0] - quad[0, 0])
    assume(abs(across - down) > 0.1)
    # A side that spans less of x than its neighbours is left or right, wherever the rectangle was drawn from.
    expected = quad if across > down else np.roll(quad, 1 if degrees > 0 else -1, axis=0)
    assert (corners(quad[None, order]) == expected).all()


def test_corners_of_nothing() -> None:
    assert corners(np.empty((0, 4, 2), np.float32)).shape == (0, 4, 2)


def test_reading_order_is_that_of_pp_ocr_and_takes_the_scores_along(shared) -> None:
    golden = json.loads((shared / "golden/real/ppocrv6.json").read_text())["detector_page"]
    quads = np.array(golden["quads_contour_order"], np.float32)
    order = reading_order(quads, step=10)
    assert quads[order].tolist() == golden["quads_reading_order"]
    # The reference leaves its scores in the order of the contours: there the last line of the page is first.
    scores = np.array(golden["scores_contour_order"])[order]
    assert scores.tolist() == golden["scores_contour_order"][::-1]


@given(st.integers(0, 5), st.integers(1, 5), st.randoms(use_true_random=False))
def test_words_of_a_page_are_read_line_by_line(rows: int, columns: int, random) -> None:
    page = [
        rectangle(100 * column + random.uniform(-20, 20), 30 * row + random.uniform(-3, 3), 50, 20)
        for row in range(rows)
        for column in range(columns)
    ]
    shuffled = list(range(len(page)))
    random.shuffle(shuffled)
    quads = np.array([page[i] for i in shuffled], np.float32).reshape(-1, 4, 2)
    for scale in (1, 8):  # half the median height grows with the text
        found = lines(quads * np.float32(scale))
        expected = np.arange(rows * columns).reshape(rows, columns)
        assert [[shuffled[i] for i in line] for line in found] == expected.tolist()
        assert reading_order(quads).tolist() == [i for line in found for i in line]


def test_a_step_is_a_new_line_from_its_full_height_on() -> None:
    quads = np.stack([rectangle(50, 10, 20, 20), rectangle(20, 20, 20, 20)])
    assert [line.tolist() for line in lines(quads, step=10)] == [[0], [1]]
    assert [line.tolist() for line in lines(quads, step=10.5)] == [[1, 0]]


@given(st.lists(st.tuples(numbers, numbers, sides, sides), min_size=1, max_size=20), st.floats(0.5, 50))
def test_reading_is_a_permutation_and_lines_do_not_step_up(some, step: float) -> None:
    quads = np.stack([rectangle(*values) for values in some])
    assert sorted(reading_order(quads, step)) == list(range(len(some)))
    found = lines(quads, step)
    for line in found:
        assert (np.diff(quads[line, 0, 0]) >= 0).all()
    for above, below in pairwise(found):
        assert quads[below, 0, 1].min() - quads[above, 0, 1].max() >= step


def test_quads_at_one_place_keep_their_order() -> None:
    quads = np.stack([rectangle(0, 0, 10, 10)] * 5)
    assert reading_order(quads).tolist() == [0, 1, 2, 3, 4]

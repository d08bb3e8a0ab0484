import numpy as np
import pytest

from detserve.core.detections import Detections
from detserve.text.direction import is_sideways, longest, turned_back


def box(left: float, top: float, width: float, height: float) -> list[list[float]]:
    return [[left, top], [left + width, top], [left + width, top + height], [left, top + height]]


def test_a_page_is_sideways_when_most_of_its_text_runs_down() -> None:
    across, down, square = box(0, 0, 100, 10), box(0, 0, 10, 90), box(0, 0, 20, 20)
    assert not is_sideways(np.array([across, down, square], np.float32))
    assert is_sideways(np.array([across, down, down, square], np.float32))
    assert not is_sideways(np.empty((0, 4, 2), np.float32))


def test_the_longest_lines_of_the_page_s_direction_come_first() -> None:
    quads = np.array([box(0, 0, 10, 5), box(0, 0, 5, 90), box(0, 0, 50, 5), box(0, 0, 40, 5)], np.float32)
    assert longest(quads, 2, sideways=False).tolist() == quads[[2, 3]].tolist()
    assert longest(quads, 2, sideways=True).tolist() == quads[[1]].tolist()


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_what_is_found_on_a_turned_picture_lies_on_the_same_pixels(turns: int) -> None:
    picture = np.zeros((60, 100), np.uint8)
    picture[10:20, 30:70] = 1
    turned = np.rot90(picture, turns)
    y, x = np.nonzero(turned)
    left, top, right, bottom = float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)
    quad = np.array([box(left, top, right - left, bottom - top)], np.float32)
    found = Detections.of_quads(quad, np.ones(1, np.float32), [quad[0]])
    back = turned_back(found, turns, (100, 60))
    assert back.boxes.tolist() == [[30, 10, 70, 20]]
    assert back.quads is not None
    assert back.polygons is not None
    outline = [[30, 10], [70, 10], [70, 20], [30, 20]]
    # The top left of the turned picture is another corner of the picture itself, and the order stays clockwise.
    assert back.quads[0].tolist() == np.roll(outline, -turns, axis=0).tolist()
    assert back.polygons[0].tolist() == back.quads[0].tolist()

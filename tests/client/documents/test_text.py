"""An answer becomes words on lines, and lines become paragraphs."""

from __future__ import annotations

import numpy as np
import pytest

from detserve.client.documents.page import DocumentError
from detserve.client.documents.paragraphs import paragraphs
from detserve.client.documents.text import lines_of
from tests.client.documents.made import SIZE, rows, said, split


def texts(found: list[dict]) -> list[str]:
    return [line.text for line in lines_of(found, SIZE)]


def test_words_that_follow_each_other_are_one_line_again() -> None:
    found = rows("the first line", "and the second one", "end")
    words = [word for each in found for word in split(each)]
    assert len(words) == 8
    assert texts(words) == texts(found) == ["the first line", "and the second one", "end"]


def test_words_of_turned_lines_are_joined_too() -> None:
    for turn in (-90, 20, 90, 180):
        right = np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn))])
        at = [np.array([500, 700]) + step * right for step in (0, 120)]
        assert texts([said("going", *at[0], 100, turn=turn), said("on", *at[1], 40, turn=turn)]) == ["going on"]


@pytest.mark.parametrize(
    "other",
    [
        said("other", 300, 100, 100),  # far to the right
        said("other", 210, 130, 100),  # lower
        said("other", 210, 90, 100, height=90),  # much higher letters
        said("other", 210, 100, 100, turn=30),
        said("other", 20, 100, 100),  # to the left
    ],
)
def test_what_stands_elsewhere_is_another_line(other: dict) -> None:
    assert texts([said("one", 100, 100, 100), other]) == ["one", "other"]


def test_words_of_a_whole_line_share_its_quad_by_their_length() -> None:
    (line,) = lines_of([said("ab cdef", 100, 100, 350)], SIZE)
    first, second = (word.quad for word in line.words)
    assert first[0].tolist() == [100, 100]
    assert second[2].tolist() == [450, 140]
    assert 180 < first[1][0] < second[0][0] < 250
    assert line.quad.tolist() == [[100, 100], [450, 100], [450, 140], [100, 140]]
    assert line.baseline[:, 1].tolist() == pytest.approx([129.6, 129.6])


def test_words_from_right_to_left_begin_at_the_right() -> None:
    (line,) = lines_of([said("שלום עולם", 100, 100, 400)], SIZE)
    assert line.text == "שלום עולם"
    assert line.words[0].quad[0, 0] > line.words[1].quad[1, 0]


def test_what_nobody_can_read_is_no_text() -> None:
    assert texts([said("a\x00b\ud800", 1, 1, 9), said(" \n", 1, 100, 9), said("\ufffe", 1, 200, 9)]) == ["a b"]
    assert texts([]) == []


def test_an_answer_without_text_is_told() -> None:
    with pytest.raises(DocumentError, match="a model that reads is needed"):
        lines_of([{"xywh_ratio": [0.5, 0.5, 1, 1], "conf": 1}], SIZE)


def grouped(found: list[dict]) -> list[str]:
    return [" / ".join(line.text for line in each) for each in paragraphs(lines_of(found, SIZE))]


def test_a_wider_distance_ends_a_paragraph() -> None:
    tops = (100, 150, 200, 280, 330, 380)
    assert grouped([said(f"l{i}", 100, top, 500) for i, top in enumerate(tops)]) == ["l0 / l1 / l2", "l3 / l4 / l5"]


def test_wide_lines_throughout_are_one_paragraph() -> None:
    assert len(grouped([said(f"l{i}", 100, 100 * i, 500) for i in range(6)])) == 1


def test_larger_letters_another_column_and_another_direction_are_a_paragraph_each() -> None:
    found = [said("Title", 100, 20, 500, height=70), said("text", 100, 100, 500), said("more", 100, 150, 500)]
    found += [said("column", 600, 20, 300), said("its", 600, 70, 300), said("aside", 900, 200, 300, turn=90)]
    assert grouped(found) == ["Title", "text / more", "column / its", "aside"]


def test_what_stands_on_the_same_row_stays_together() -> None:
    found = [said("Name", 100, 100, 80), said("Ada", 400, 102, 80), said("Town", 100, 150, 80)]
    assert grouped(found) == ["Name / Ada / Town"]


def test_no_line_and_one_line() -> None:
    assert grouped([]) == []
    assert grouped(rows("one")) == ["one"]

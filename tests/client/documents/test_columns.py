"""Columns of text are read one after the other; tables, short lines and single columns as the server has them."""

from __future__ import annotations

import time

import numpy as np
import pytest

from detserve.client.documents.columns import in_columns
from detserve.client.documents.text import lines_of
from tests.client.documents.made import SIZE, said


def order(found: list[dict]) -> list[str]:
    return [line.text for line in in_columns(lines_of(found, SIZE))]


def beside(names: str, top: float, width: float, rows: int = 4, gap: float = 40) -> list[dict]:
    """Columns of these names, row by row as a server has them."""
    return [
        said(f"{name}{row}", 50 + column * (width + gap), top + 50 * row, width, 30)
        for row in range(rows)
        for column, name in enumerate(names)
    ]


def down(names: str, rows: int = 4) -> list[str]:
    return [f"{name}{row}" for name in names for row in range(rows)]


def test_two_and_three_columns() -> None:
    assert order(beside("ab", 100, 400)) == down("ab")
    assert order(beside("abc", 100, 270)) == down("abc")


@pytest.mark.parametrize("turn", [0, 4, 90, 180, 270])
def test_columns_of_a_page_that_was_sent_turned(turn: float) -> None:
    """In the order that `X-Rotate: auto` answers, row by row as a person reads them."""
    angle = np.radians(turn)
    turning = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    found = [said("Title", 50, 20, 840, 60), *beside("ab", 100, 400)]
    for each in found:
        quad = np.array(each["quad_ratio"]).reshape(4, 2) * SIZE @ turning
        each["quad_ratio"] = (quad / SIZE).ravel().tolist()
    assert order(found) == ["Title", *down("ab")]


def test_a_heading_across_ends_the_columns_above_it() -> None:
    found = [said("Title", 50, 20, 840, 60), *beside("ab", 100, 400), said("Next", 50, 320, 840, 60)]
    assert order([*found, *beside("cd", 420, 400)]) == ["Title", *down("ab"), "Next", *down("cd")]


def test_columns_of_other_lengths_and_heights_of_rows() -> None:
    left = [said(f"a{i}", 50, 100 + 50 * i, 400, 30) for i in range(9)]
    right = [said(f"b{i}", 520, 110 + 44 * i, 400, 30) for i in range(4)]
    mixed = sorted(left + right, key=lambda each: each["quad_ratio"][1])
    assert order(mixed) == [f"a{i}" for i in range(9)] + [f"b{i}" for i in range(4)]


def test_a_table_stays_in_rows() -> None:
    found = [
        said(text, x, 100 + 50 * row, width, 30)
        for row in range(6)
        for text, x, width in ((f"name{row}", 50, 300), (f"price{row}", 600, 90))
    ]
    assert order(found) == [each["text"] for each in found]


def test_a_thousand_lines_take_no_time() -> None:
    found = [said(f"w{i}", (37 * i) % 900, 10 + i, 60, 8) for i in range(1000)]
    start = time.perf_counter()
    assert sorted(order(found)) == sorted(each["text"] for each in found)
    assert time.perf_counter() - start < 5


def test_few_rows_and_one_column_stay_as_they_are() -> None:
    for found in (beside("ab", 100, 400, rows=2), beside("a", 100, 800, rows=9), []):
        assert order(found) == [each["text"] for each in found]

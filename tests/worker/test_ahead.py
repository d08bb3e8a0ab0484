"""Threads that decode ahead: order, how far ahead, and errors."""

import threading
import time

import pytest

from detserve.worker.ahead import Ahead


def test_results_come_in_the_order_of_the_items() -> None:
    def slow_for_small(n: int) -> int:
        time.sleep((9 - n) / 500)
        return n * n

    assert list(Ahead(4)(slow_for_small, range(9))) == [n * n for n in range(9)]


def test_as_many_are_begun_as_there_are_threads_and_no_more() -> None:
    begun: list[int] = []
    results = Ahead(3)(begun.append, range(10))
    next(results)
    deadline = time.monotonic() + 5
    while len(begun) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert begun == [0, 1, 2, 3], "the first, which was taken, and three ahead of it"
    list(results)
    assert sorted(begun) == list(range(10))


def test_several_work_at_once() -> None:
    meeting = threading.Barrier(3, timeout=5)
    assert len({*Ahead(3)(lambda _: meeting.wait(), range(3))}) == 3


def test_an_error_is_raised_where_its_result_would_be() -> None:
    results = Ahead(2)(lambda n: 1 // n, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_nothing_gives_nothing() -> None:
    assert list(Ahead(2)(str, [])) == []

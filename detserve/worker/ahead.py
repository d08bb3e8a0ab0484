"""Ahead: a few threads that are always some pictures ahead of who uses them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class Ahead:
    """Threads for work that leaves Python's lock alone, as decoding does. They last as long as the worker."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, "ahead")

    def __call__(self, work: Callable[[In], Out], items: Iterable[In]) -> Iterator[Out]:
        """The results in the order of the items, begun at once: as many as there are threads are under way or wait."""
        begun: deque[Future[Out]] = deque()
        for item in items:
            begun.append(self._pool.submit(work, item))
            if len(begun) > self.threads:  # more would fill the memory with pictures that nobody takes yet
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()

"""Lanes: calls of an engine that one caller waits for, on a second core too while nobody else wants that core."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from detserve.engines.base import Engine

Job = TypeVar("Job")
Out = TypeVar("Out")

WAITED = 0.2
"""A second lane that has waited for a core for more than this share of its time is in somebody's way,"""
REST = 1.0
"""and is left alone for so many seconds."""


class Lanes:
    """An engine and, where it has one, its twin on a thread of its own, which lasts as long as the worker."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.twin = engine, engine.twin()
        self._second = ThreadPoolExecutor(1, "lane") if self.twin else None
        self._rests_until = 0.0

    def __call__(self, work: Callable[[Engine, Job], Out], jobs: Sequence[Job]) -> list[Out]:
        """work(engine, job) of each job, in their order. The last of them is begun first.

        The twin takes part while the machine has a core for it. Raises what a job raises, once the other has ended.
        """
        done: dict[int, Out] = {}
        left = list(range(len(jobs)))

        def take(engine: Engine) -> bool:
            """Do one of the jobs that are left, if any is."""
            try:
                i = left.pop()
            except IndexError:
                return False
            try:
                done[i] = work(engine, jobs[i])
            except BaseException:
                left.clear()
                raise
            return True

        def take_beside(twin: Engine) -> None:
            """Do jobs as long as a core is free for them."""
            start, waited = time.monotonic(), _waited()
            while take(twin):
                if _waited() - waited > WAITED * (time.monotonic() - start):
                    self._rests_until = time.monotonic() + REST
                    break

        if self.twin is None or self._second is None or len(jobs) < 2 or time.monotonic() < self._rests_until:
            beside = None
        else:
            beside = self._second.submit(take_beside, self.twin)
        try:
            while take(self.engine):
                pass
        finally:
            error = beside.exception() if beside else None  # waits for it
        if error:
            raise error
        return [done[i] for i in range(len(jobs))]


def _waited() -> float:
    """Seconds for which this thread was ready to run and had no core; 0 where the system does not tell."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text("ascii").split()[1]) / 1e9
    except (OSError, IndexError):  # another system than Linux
        return 0.0

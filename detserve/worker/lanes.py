"""Lanes: calls of an engine that one caller waits for, on a second core too while that one has nothing else to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from detserve.core.machine import cores
from detserve.engines.base import Engine

Job = TypeVar("Job")
Out = TypeVar("Out")


class Lanes:
    """An engine and, where it has one, its twin on a thread of its own, which lasts as long as the worker."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.twin = engine, engine.twin()
        self._beside = ThreadPoolExecutor(1, "lane") if self.twin else None

    def __call__(self, work: Callable[[Engine, Job], Out], jobs: Sequence[Job]) -> list[Out]:
        """work(engine, job) of each job, in their order. The last of them is begun first.

        The twin takes its next job only while a core is idle, so it costs other requests nothing. Raises what a job
        raises, when none is under way any more.
        """
        done: dict[int, Out] = {}
        left = list(range(len(jobs)))

        def take(engine: Engine, may: Callable[[], bool]) -> None:
            while left and may():
                try:
                    i = left.pop()
                except IndexError:  # the other lane was first
                    return
                try:
                    done[i] = work(engine, jobs[i])
                except BaseException:
                    left.clear()
                    raise

        if self._beside is None or self.twin is None or len(jobs) < 2:
            take(self.engine, lambda: True)
        else:
            beside = self._beside.submit(take, self.twin, _has_a_core)
            try:
                take(self.engine, lambda: True)
            finally:
                beside.exception()  # waits for it
            beside.result()
        return [done[i] for i in range(len(jobs))]


def _has_a_core() -> bool:
    """Whether the thread that asks has a core for itself: no more threads want to run than there are cores.

    In a container Linux counts the threads of the whole machine: beside busy neighbours there is no second lane.
    """
    try:
        running = Path("/proc/loadavg").read_text("ascii").split()[3].partition("/")[0]
    except (OSError, IndexError):  # another system than Linux
        return False
    return int(running) <= cores()

"""Local: the work in processes of this machine. A thread lists ahead, another for each process hands it batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Self

from detserve.bulk import todo
from detserve.bulk.job import Entry, Job, Tally
from detserve.bulk.sources import batches
from detserve.bulk.worker import Worker

LOOK_SECONDS = 0.5
WAKE_SECONDS = 0.02
STOP_SECONDS = 5.0
"""For the pictures that are being looked at, and the rows of those before them."""


class Local:
    """Processes on a job; `with Local(...) as local:` starts and ends them.

    gpus: how many GPUs the processes are spread over, 0 for the processor.
    """

    def __init__(self, job: Job, processes: int, gpus: int = 0) -> None:
        self.jobs = [replace(job, gpu=number % gpus if gpus else None) for number in range(processes)]
        self.processes = processes
        self._places: SimpleQueue[todo.Place | None] = SimpleQueue()
        self._told: SimpleQueue[Tally | BaseException | None] = SimpleQueue()
        self._ending = threading.Event()

    def __enter__(self) -> Self:
        self._workers = [Worker(job) for job in self.jobs]
        self._threads = [threading.Thread(target=self._drive, args=(each,), daemon=True) for each in self._workers]
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for worker in self._workers:
            worker.kill()
        self._join(STOP_SECONDS)
        for worker in self._workers:
            worker.close()

    def run(self, entries: Iterable[Entry], size: int) -> Generator[Tally | None, None, None]:
        """The tally of each batch, and None twice a second. size: pictures of a batch.

        Raises what a process or the listing of the pictures raises; all others go on until they are stopped.
        """
        threading.Thread(target=self._list, args=(entries, size), daemon=True).start()
        for thread in self._threads:
            thread.start()
        running = len(self._threads)
        while running:
            try:
                told = self._told.get(timeout=LOOK_SECONDS)
            except Empty:
                yield None
                continue
            if isinstance(told, BaseException):
                raise told
            if told is None:
                running -= 1
            else:
                yield told

    def progress(self) -> tuple[int, int]:
        """How many pictures of unfinished batches are done, and how many of them failed."""
        each = [worker.progress() for worker in self._workers]
        return sum(done for done, _ in each), sum(failed for _, failed in each)

    def stop(self) -> Iterator[Tally]:
        """Stop all, and let each write the rows that it has → their tallies."""
        self._ending.set()
        for worker in self._workers:
            worker.stop()
        self._join(STOP_SECONDS)
        while not self._told.empty():
            told = self._told.get()
            if isinstance(told, Tally):
                yield told

    def _join(self, seconds: float) -> None:
        """Wait for the threads, and wake those that wait for a batch."""
        end = time.monotonic() + seconds
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < end:
            self._places.put(None)
            time.sleep(WAKE_SECONDS)

    def _list(self, entries: Iterable[Entry], size: int) -> None:
        try:
            for place in todo.write(batches(entries, size, len(self.jobs)), self.jobs[0].scratch):
                self._places.put(place)
                if self._ending.is_set():
                    return
        except BaseException as error:
            self._told.put(error)
        for _ in self.jobs:
            self._places.put(None)

    def _drive(self, worker: Worker) -> None:
        try:
            while not self._ending.is_set() and (place := self._places.get()) is not None:
                self._told.put(worker(todo.read(worker.job.scratch, place)))
        except BaseException as error:
            self._told.put(error)
        self._told.put(None)

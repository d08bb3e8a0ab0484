"""Work: a batch of pictures → the rows of a shard. It runs in a process of its own, on the code of the archive."""

from __future__ import annotations

import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from detserve.archives.recipe import Recipe
from detserve.bulk import rows, shards, stores
from detserve.bulk.job import Batch, Entry, Job, Tally
from detserve.bulk.journal import Journal
from detserve.engines.base import Device
from detserve.errors import RequestError
from detserve.options import Options
from detserve.worker import apart
from detserve.worker.loading import load_pipeline
from detserve.worker.pipeline import Result
from detserve.worker.response import objects

AHEAD, AHEAD_REMOTE = 2, 16
"""Pictures that are read while others are looked at: a disk answers at once, a bucket after tens of milliseconds."""
UNREADABLE, FATAL = "unreadable", "process_died"
"""Types of errors that a server does not have."""
FATAL_MESSAGE = "its process ended on this picture, twice: out of memory, or a fault of a library; look at it alone"


class Unwritable(Exception):
    """Rows that no shard can be made of, and why."""


class _Read(NamedTuple):
    """A picture's bytes, or why there are none, and in how many milliseconds."""

    entry: Entry
    data: bytes | str
    ms: float


class Work:
    """The pipeline of an archive, loaded, and where its rows go."""

    def __init__(self, job: Job) -> None:
        import yaml

        sys.path.append(str(job.archive))  # where a model of the user's own lies
        document = yaml.safe_load((job.archive / f"{job.model}.yaml").read_bytes())
        recipe = Recipe.of_archive(document)
        self.job = job
        self.pipeline = load_pipeline(recipe, job.archive, Device(threads=1, gpu=job.gpu))
        self.options = Options.parse({}, self.pipeline.spec, recipe.options)
        self.readers = ThreadPoolExecutor(AHEAD_REMOTE, "read")

    def __call__(self, batch: Batch, journal: Journal, stopped: Callable[[], bool]) -> Tally:
        """Write the shard of a batch → what became of its pictures; of fewer of them when it is told to stop.

        journal: of the rows so far, which hold even if this process dies over the next. Raises OSError where rows
        cannot be written, Unwritable where they fit no shard.
        """
        began, start = time.time(), time.perf_counter()
        done: list[rows.Row] = journal.read()

        def add(looked: Sequence[rows.Row]) -> None:
            journal.append(looked, sum(row["status"] == rows.ERROR for row in looked))
            done.extend(looked)

        if batch.fatal:
            add([rows.row(batch.entries[len(done)], self.job, (FATAL, FATAL_MESSAGE))])
        reads = self._read_ahead(batch.entries[len(done) :])
        while not stopped():
            group = list(islice(reads, 1 if len(done) < batch.suspects else self.job.batch))
            if not group:
                break
            add(self._look(group))
        if done:
            self._write(done, batch.entries[: len(done)])
        return Tally(
            pictures=len(done),
            detections=sum(len(row["detections"] or ()) for row in done),
            errors=Counter(row["error_type"] for row in done if row["status"] == rows.ERROR),
            seconds=time.perf_counter() - start,
            began=began,
            peak=_most_memory(),
        )

    def _write(self, done: Sequence[rows.Row], entries: Sequence[Entry]) -> None:
        try:
            shards.write(done, entries, self.job)
        except OSError:
            raise
        except Exception as error:  # a fault of ours: another process would end on it as well
            traceback.print_exc()
            first, last = entries[0].shown, entries[-1].shown
            raise Unwritable(
                f"no shard can be made of the rows of {first} to {last}: {error}".splitlines()[0]
            ) from error

    def _read_ahead(self, entries: Sequence[Entry]) -> Iterator[_Read]:
        """The pictures in their order, some being read while others are looked at."""
        ahead = AHEAD_REMOTE if entries and stores.is_remote(entries[0].path) else AHEAD
        waiting: deque[Future[_Read]] = deque()
        for entry in entries:
            waiting.append(self.readers.submit(_read, entry))
            if len(waiting) > max(ahead, self.job.batch):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _look(self, group: Sequence[_Read]) -> list[rows.Row]:
        """The rows of some pictures that go through the pipeline together."""
        items = [(read.data, self.options) for read in group if isinstance(read.data, bytes)]
        results = iter(apart.run(self.pipeline, items, _told) if items else ())
        return [
            self._row(read, next(results))
            if isinstance(read.data, bytes)
            else rows.row(read.entry, self.job, (UNREADABLE, read.data), ms={"read": read.ms})
            for read in group
        ]

    def _row(self, read: _Read, result: Result) -> rows.Row:
        times = result.timings
        ms = {"read": read.ms, "decode": times.decode, "infer": times.infer, "post": times.post}
        if isinstance(result.outcome, RequestError):
            return rows.row(read.entry, self.job, (result.outcome.type, str(result.outcome)), result.size, ms)
        assert result.size is not None
        return rows.row(read.entry, self.job, objects(result.outcome, result.size), result.size, ms)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _read(entry: Entry) -> _Read:
    start = time.perf_counter()
    try:
        data: bytes | str = stores.read(entry)
    except Exception as error:  # a bucket's libraries raise what they like
        data = str(error) or type(error).__name__
    return _Read(entry, data, (time.perf_counter() - start) * 1000)


def _most_memory() -> int:
    """The most bytes of memory that this process has had. What getrusage tells counts the parent's as well."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

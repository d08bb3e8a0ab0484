"""Ray: the same work on Ray Data, by a pool of actors that have a worker each, on one machine or a cluster.

Ray moves places of batches to the actors, and tallies back. An actor reads its batches in the scratch folder, and its
process the pictures; shards are written by the process. What Ray does again after a node has died writes the same
shards under the same names.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import shutil
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from detserve.bulk import todo
from detserve.bulk.job import Entry, Job, Tally
from detserve.bulk.sources import batches
from detserve.bulk.unpacked import unpack
from detserve.bulk.worker import Worker
from detserve.core.machine import WORKERS_A_GPU, cores
from detserve.errors import SetupError

STORE_BYTES = 1 << 28
"""Ray's object store where it runs on this machine alone: places and tallies pass through it."""
REACH_SECONDS = 10.0
END_SECONDS = 5.0
"""For Ray Data to end what it is at."""
ITERATING = ("iter_threaded", "Prefetcher")
"""How Ray Data names the threads that fetch what its iterators give."""


class Actor:
    """What Ray starts on the nodes. A node unpacks the archive once, from the copy in the scratch folder."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.worker: Worker | None = None

    def __call__(self, places: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """The tallies of some batches, or the one line that ends the job."""
        told: list[Tally | str] = []
        try:
            if self.worker is None:
                self.worker = Worker(replace(self.job, archive=unpack(self.job.sha256, self.job.archive)))
            for start, length in zip(places["start"], places["length"], strict=True):
                told.append(self.worker(todo.read(self.job.scratch, todo.Place(int(start), int(length)))))
        except SetupError as error:
            taken = f"another run has taken over {self.job.out}, or the nodes do not share that folder"
            told.append(str(error) if self.job.scratch.exists() else taken)
        return {"told": [pickle.dumps(each) for each in told]}


class OnRay:
    """Actors on a job; `with OnRay(...) as hands:` connects to Ray, or starts it.

    address: "auto", "local" or HOST:PORT; actors: how many, None for one on each CPU of the cluster; gpu_batch:
    pictures at a time on a GPU, 0 for an archive whose engine runs on the processor.
    """

    def __init__(self, job: Job, address: str, actors: int | None, gpu_batch: int = 0) -> None:
        self.archive = job.archive
        self.job = replace(job, archive=job.scratch / f"{job.sha256}.mar")
        if gpu_batch:
            self.job = replace(self.job, gpu=0, batch=gpu_batch)  # of the GPUs that Ray shows to an actor
        self.address, self.processes, self.gpu_batch = address, actors or 0, gpu_batch

    def __enter__(self) -> Self:
        os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # else a call of Ray's that comes too late starts it again
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.WARNING)
        _reach(self.address)
        options: dict[str, Any] = {"logging_level": "warning"}
        if self.address == "local":
            options |= {"num_cpus": self.processes or cores(), "object_store_memory": STORE_BYTES}
            options |= {"include_dashboard": False}
        ends = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=self.address, **options)
            signal.signal(signal.SIGTERM, ends)  # Ray has set its own, which leaves no time to report
            self.processes = self._fitting(ray.cluster_resources())
        except BaseException as error:  # of whatever kind: a node that does not start in time is a bare Exception
            ray.shutdown()
            if isinstance(error, SetupError) or not isinstance(error, Exception):
                raise
            raise SetupError(f"no Ray at {self.address}: {error}".splitlines()[0]) from error
        return self

    def __exit__(self, _kind: object, _error: object, trace: TracebackType | None) -> None:
        import ray

        traceback.clear_frames(trace)  # they hold iterators of Ray Data's
        try:
            _end_threads()
        finally:
            ray.shutdown()

    def _fitting(self, found: Mapping[str, float]) -> int:
        """How many actors there will be, of those that are wanted, on what a cluster has."""
        what, share = ("GPU", WORKERS_A_GPU) if self.gpu_batch else ("CPU", 1)
        most = int(share * found.get(what, 0))
        if not most:
            raise SetupError(f"Ray at {self.address} has no {what} to offer")
        if self.processes > most:
            print(
                f"{most} actors instead of {self.processes}: Ray at {self.address} has no more {what}s", file=sys.stderr
            )
        return min(self.processes or most, most)

    def run(self, entries: Iterable[Entry], size: int) -> Generator[Tally | None, None, None]:
        """The tally of each batch; None while pictures are listed, all of them before the first is looked at.

        size: pictures of a batch. To be closed where it is not read to its end. Raises SetupError when an actor or Ray
        cannot go on.
        """
        import ray

        places: list[dict[str, int]] = []
        for place in todo.write(batches(entries, size, self.processes), self.job.scratch):
            places.append(place._asdict())
            yield None
        if not places:
            return
        try:
            shutil.copyfile(self.archive, self.job.archive)
        except OSError as error:
            raise SetupError(f"cannot write to {self.job.out}: {error.strerror or error}") from error
        # A block for each place: Ray hands out blocks. They are its tasks' input without a task that makes them, which
        # would wait for a CPU that the actors have.
        told = ray.data.from_items(places, override_num_blocks=len(places)).map_batches(
            Actor,
            fn_constructor_args=(self.job,),
            batch_size=1,
            num_cpus=1,  # an engine has one thread
            num_gpus=1 / WORKERS_A_GPU if self.gpu_batch else 0,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self.processes, initial_size=self.processes),
        )
        try:
            with closing(iter(told.iter_rows())) as rows:
                for row in rows:
                    each = pickle.loads(row["told"])
                    if isinstance(each, str):
                        raise SetupError(each)
                    yield each
        except ray.exceptions.RayError as error:
            raise SetupError(f"Ray ended the job: {reason(error)}") from error

    def progress(self) -> tuple[int, int]:
        """Nothing is known of unfinished batches."""
        return 0, 0

    def stop(self) -> Iterator[Tally]:
        """Nothing to wait for: what an actor has not written is done again by the next run."""
        return iter(())


def reason(error: Exception) -> str:
    """What an error of Ray's comes from, on one line: what an actor raised stands behind the header of its call."""
    cause = getattr(error, "cause", None)
    return (f"{type(cause).__name__}: {cause}" if cause else str(error)).splitlines()[0]


def _end_threads() -> None:
    """End the threads of Ray Data that an interrupt has cut from their iterators: they call Ray to their end.

    One whose call meets Ray's shutdown ends the whole process, without the line that says what happened.
    """
    from ray.data._internal.block_batching.util import WaitBlockPrefetcher
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

    for thread in threading.enumerate():
        if isinstance(thread, StreamingExecutor):
            thread.shutdown(force=True)
    for each in gc.get_objects():
        if type(each) is WaitBlockPrefetcher:
            each.stop()
    for thread in threading.enumerate():
        if isinstance(thread, StreamingExecutor) or thread.name in ITERATING:
            thread.join(END_SECONDS)


def _reach(address: str) -> None:
    """Raise SetupError where nothing listens at HOST:PORT: Ray itself tries for minutes."""
    host, colon, port = address.rpartition("//")[2].rpartition(":")
    if not colon:
        return  # "auto", "local"
    try:
        socket.create_connection((host, int(port)), REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise SetupError(f"no Ray at {address}: {error}") from error

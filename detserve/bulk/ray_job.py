"""Ray: the same work on Ray Data, by a pool of actors that have a worker each, on one machine or a cluster.

Ray moves numbers of batches to the actors, and tallies back. An actor reads its batches in the scratch folder, and its
process the pictures; shards are written by the process. What Ray does again after a node has died writes the same
shards under the same names.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Self

from detserve.bulk import todo
from detserve.bulk.job import Entry, Job, Tally
from detserve.bulk.sources import batches
from detserve.bulk.unpacked import unpack
from detserve.bulk.worker import Worker
from detserve.core.machine import WORKERS_A_GPU, cores
from detserve.errors import SetupError

STORE_BYTES = 1 << 28
"""Ray's object store where it runs on this machine alone: numbers and tallies pass through it."""

REACH_SECONDS = 10.0


class Actor:
    """What Ray starts on the nodes. A node unpacks the archive once, from the copy in the scratch folder."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.worker: Worker | None = None

    def __call__(self, numbers: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """The tallies of some batches, or the one line that ends the job."""
        told: list[Tally | str] = []
        try:
            if self.worker is None:
                folder = unpack(self.job.sha256, self.job.archive.read_bytes)
                self.worker = Worker(replace(self.job, archive=folder))
            told += [self.worker(todo.read(self.job.scratch, int(number))) for number in numbers["item"]]
        except FileNotFoundError:
            told.append(f"another run has taken over {self.job.out}, or the nodes do not share that folder")
        except SetupError as error:
            told.append(str(error))
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
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.WARNING)
        _reach(self.address)
        options: dict[str, Any] = {"logging_level": "warning"}
        if self.address == "local":
            options |= {"num_cpus": self.processes or cores(), "object_store_memory": STORE_BYTES}
            options |= {"include_dashboard": False}
        try:
            ray.init(address=self.address, **options)
        except Exception as error:  # of whatever kind: a node that does not start in time is a bare Exception
            raise SetupError(f"no Ray at {self.address}: {error}".splitlines()[0]) from error
        found = ray.cluster_resources()
        most = WORKERS_A_GPU * found.get("GPU", 0) if self.gpu_batch else found.get("CPU", 0)
        self.processes = min(self.processes or int(most), int(most))
        if not self.processes:
            ray.shutdown()
            raise SetupError(f"Ray at {self.address} has no {'GPU' if self.gpu_batch else 'CPU'} to offer")
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        ray.shutdown()

    def run(self, entries: Iterable[Entry], size: int) -> Iterator[Tally | None]:
        """The tally of each batch. size: pictures of a batch. All pictures are listed before the first is looked at.

        Raises SetupError when an actor cannot go on, or Ray does.
        """
        import ray

        try:
            count = todo.write(batches(entries, size, self.processes), self.job.scratch)
            shutil.copyfile(self.archive, self.job.archive)
        except OSError as error:
            raise SetupError(f"cannot write to {self.job.out}: {error.strerror or error}") from error
        if not count:
            return
        # A block for each number: Ray hands out blocks. They are its tasks' input without a task that makes them, which
        # would wait for a CPU that the actors have.
        told = ray.data.from_items(list(range(count)), override_num_blocks=count).map_batches(
            Actor,
            fn_constructor_args=(self.job,),
            batch_size=1,
            num_cpus=1,  # an engine has one thread
            num_gpus=1 / WORKERS_A_GPU if self.gpu_batch else 0,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self.processes, initial_size=self.processes),
        )
        try:
            for row in told.iter_rows():
                each = pickle.loads(row["told"])
                if isinstance(each, str):
                    raise SetupError(each)
                yield each
        except ray.exceptions.RayError as error:
            raise SetupError(f"Ray ended the job: {error}".splitlines()[0]) from error

    def progress(self) -> tuple[int, int]:
        """Nothing is known of unfinished batches."""
        return 0, 0

    def stop(self) -> Iterator[Tally]:
        """Nothing to wait for: what an actor has not written is done again by the next run."""
        return iter(())


def _reach(address: str) -> None:
    """Raise SetupError where nothing listens at HOST:PORT: Ray itself tries for minutes."""
    host, colon, port = address.rpartition("//")[2].rpartition(":")
    if not colon:
        return  # "auto", "local"
    try:
        socket.create_connection((host, int(port)), REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise SetupError(f"no Ray at {address}: {error}") from error

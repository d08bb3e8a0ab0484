"""Process: what a process of a run does. At the top it imports the standard library alone, see `detserve.bulk.job`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from queue import SimpleQueue

import detserve
from detserve.bulk.job import Batch, Full, Job, Ready, Stop
from detserve.bulk.journal import Journal


def main(pipe: int, journal: int) -> None:
    """Load the archive, then do what comes over the pipe until it says stop, or is closed. Both are descriptors."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # they are sent to the whole group; what to do says the parent
    boss = Connection(pipe)
    job: Job = boss.recv()
    batches: SimpleQueue[Batch | None] = SimpleQueue()
    stopped = threading.Event()
    threading.Thread(target=_listen, args=(boss, batches, stopped), daemon=True).start()
    # The archive's own code: what it lacks, this room for one, is found in the package that runs it.
    detserve.__path__.insert(0, str(job.archive / "detserve"))
    try:
        from detserve.bulk.work import Unwritable, Work

        work = Work(job)
    except Exception as error:
        boss.send(Ready(f"{job.model} cannot be loaded: {error}"))
        return

    boss.send(Ready())
    while (batch := batches.get()) is not None:
        try:
            boss.send(work(batch, Journal(journal), stopped.is_set))
        except OSError as error:
            boss.send(Full(f"cannot write to {job.out}: {error.strerror or error}"))
            return
        except Unwritable as error:
            boss.send(Full(str(error)))
            return
        if stopped.is_set():
            return


def _listen(boss: Connection, batches: SimpleQueue[Batch | None], stopped: threading.Event) -> None:
    """Hand on what comes. Without a parent nobody waits for the batch: the process ends at once."""
    try:
        while True:
            message = boss.recv()
            if isinstance(message, Stop):
                stopped.set()
                batches.put(None)
            else:
                batches.put(message)
    except (EOFError, OSError):
        os._exit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

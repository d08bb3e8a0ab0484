"""Worker: a process that looks at pictures, seen from its parent, and started anew when a picture ends it.

The rows of the pictures before that one are kept, and it is looked at once more. When it ends that process as well, its
row says so and the others go on.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from detserve.bulk.job import Batch, Entry, Full, Job, Ready, Stop, Tally
from detserve.bulk.journal import Journal
from detserve.errors import SetupError
from detserve.places import PACKAGE

MOST_DEATHS = 40
"""So many processes that end, with no picture between them that was looked at, and it is not the pictures."""


class Worker:
    """One process on one job. It is started at once; the first call waits until it has loaded the archive."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._stopping = threading.Event()
        self._deaths = 0
        self._journal = Journal(os.memfd_create("journal"))
        self._journal.clear()
        self._start()

    def __call__(self, entries: Sequence[Entry]) -> Tally:
        """Write the rows of these pictures → what became of them, or of those that were done when it was stopped.

        Raises SetupError when the archive cannot be loaded, rows cannot be written, or whatever it looks at ends it.
        """
        self._journal.clear()
        batch, before = Batch(entries), 0
        while not self._stopping.is_set():
            tally = self._run(batch)
            looked_at = self._journal.state.rows - before - batch.fatal
            if looked_at > 0:
                self._deaths = 0
            if tally is not None:
                self._journal.clear()
                return tally
            if self._stopping.is_set():
                break
            self._deaths += 1
            before = self._journal.state.rows
            batch = self._after_death(batch, before)
            self._end()
            self._start()
        return Tally()

    def progress(self) -> tuple[int, int]:
        """How many pictures of its batch are done, and how many of them failed."""
        state = self._journal.state
        return state.rows, state.failed

    def stop(self) -> None:
        """Tell the process to write what it has, and end; a call that runs returns soon."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._pipe.send(Stop())

    def kill(self) -> None:
        """End the process, whatever it does; a call that runs returns."""
        self._stopping.set()
        self._process.kill()

    def close(self) -> None:
        """End the process, when no call runs any more."""
        self._stopping.set()
        self._end()
        os.close(self._journal.descriptor)

    def _after_death(self, batch: Batch, done: int) -> Batch:
        """The same batch, to go on with the picture that ended the process, behind so many that are done.

        Raises SetupError where one after the other does, once the rows of those before are written, or where the
        process ends while it writes them.
        """
        if done == len(batch.entries):
            if done < batch.suspects:
                raise SetupError(
                    f"the process ends while it writes the rows of {done:,} pictures to {self.job.out}; is there "
                    "memory for them? --shard takes fewer"
                )
            return Batch(batch.entries, done + 1)
        certain = done < batch.suspects
        if self._deaths >= MOST_DEATHS:
            self._end()
            self._start()
            self._run(Batch(batch.entries[: done + certain], batch.suspects, fatal=certain))
            raise SetupError(
                f"processes end one after the other, the last one at {batch.entries[done].shown}; is there memory for "
                "all of them? --processes takes fewer; the same command goes on behind it"
            )
        return Batch(batch.entries, batch.suspects if certain else done + self.job.batch, fatal=certain)

    def _start(self) -> None:
        self._pipe, theirs = Pipe()
        path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
        # Threads that wait for each other spin, and there is a process for each core.
        environment = {"OMP_NUM_THREADS": "1"} | os.environ | {"PYTHONPATH": path}
        pipes = theirs.fileno(), self._journal.descriptor
        command = [sys.executable, "-m", "detserve.bulk.process", *map(str, pipes)]
        self._process = subprocess.Popen(command, pass_fds=pipes, env=environment)
        theirs.close()
        self._loaded = False
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send(self.job)

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._pipe.close()

    def _run(self, batch: Batch) -> Tally | None:
        """The tally of a batch; None where the process ended over it."""
        if not self._loaded:
            ready = _answer(self._pipe)
            if self._stopping.is_set():
                return None
            if not isinstance(ready, Ready) or ready.fault:
                fault = ready.fault if isinstance(ready, Ready) else "its process ended; what it printed says why"
                raise SetupError(fault or "")
            self._loaded = True
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send(batch)
        answer = _answer(self._pipe)
        if isinstance(answer, Full):
            raise SetupError(answer.fault)
        return answer if isinstance(answer, Tally) else None


def _answer(pipe: Connection) -> Any:
    """What the process says; None where it has ended."""
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return None

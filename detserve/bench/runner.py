"""Runner: starts load processes that hit a target together, and gathers their hits."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Self

from detserve.bench.attacker import Chunk, Done, LoadProcess, Probe, Ready, TimedLoad, main
from detserve.bench.pacer import Load
from detserve.bench.summary import Hit, Run
from detserve.bench.target import Outcome, Target
from detserve.errors import SetupError
from detserve.pictures.depth import WithDepth

OPEN_SECONDS = 300.0
"""The time to open the target: an engine may have to be compiled."""
DRAIN_SECONDS = 60.0
"""The time for the last answers after the end of a load, longer than any hit's own timeout."""
WATCH_SECONDS = 0.5

Watch = Callable[[Run], bool]
"""Called twice a second with a run so far. True ends the run."""


@dataclass(frozen=True)
class Timing:
    """Seconds of a load. warmup: sent but not measured; duration: measured."""

    warmup: float = 2.0
    duration: float = 10.0


class Runner:
    """Some load processes on one target; `with Runner(...) as runner:` opens the target and closes it."""

    def __init__(self, target: Target, pictures: Sequence[bytes | WithDepth], processes: int) -> None:
        self.target = target
        self.pictures = pictures
        self.shares = processes
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []

    @property
    def pids(self) -> list[int]:
        """The process ids of the load processes."""
        return [process.pid for process in self._processes if process.pid]

    def __enter__(self) -> Self:
        # Spawned: neither the engines' runtimes nor gRPC survive a fork.
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        try:
            for share in range(self.shares):
                mine, theirs = context.Pipe()
                given = LoadProcess(self.target, self.pictures, share, self.shares, self._stop, theirs)
                process = context.Process(target=main, args=(given,), daemon=True)
                process.start()
                theirs.close()
                self._processes.append(process)
                self._pipes.append(mine)
            for pipe in self._pipes:
                if fault := _receive(pipe, OPEN_SECONDS, Ready).fault:
                    raise SetupError(fault)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            try:
                pipe.send(None)
                process.join(5)
            except OSError:
                pass  # it has ended already
            finally:
                process.kill()
                process.join()
                pipe.close()

    def probe(self) -> Outcome:
        """One hit with the first picture."""
        self._pipes[0].send(Probe())
        answer: Outcome = _receive(self._pipes[0], OPEN_SECONDS, Outcome)
        return answer

    def run(self, load: Load, timing: Timing, watch: Watch | None = None, only: int | None = None) -> Run:
        """Put a load on the target and wait for the last answer. Raises SetupError when a load process dies.

        only: the number of the one picture to send; None sends all of them in turn.
        """
        self._stop.clear()
        start = time.monotonic() + 0.1
        begin, end = start + timing.warmup, start + timing.warmup + timing.duration
        pictures = range(len(self.pictures)) if only is None else (only,)
        for pipe in self._pipes:
            pipe.send(TimedLoad(load, pictures, start, end))
        hits: list[Hit] = []
        cpu = 0.0
        working = list(self._pipes)
        look = begin
        while working:
            readable = wait(working, WATCH_SECONDS)
            for pipe in [pipe for pipe in working if pipe in readable]:
                message = _receive(pipe, 0, Chunk, Done)
                if isinstance(message, Chunk):
                    hits += message.hits
                else:
                    cpu += message.cpu
                    working.remove(pipe)
            now = time.monotonic()
            if now > end + DRAIN_SECONDS:
                raise SetupError(f"{load}: hits of this load are not answered, and do not time out")
            if watch and look < now < end:
                look = now + WATCH_SECONDS
                if watch(Run(load, begin, now, hits)):
                    self._stop.set()
                    end = now
        return Run(load, begin, end, hits, cpu, time.monotonic() - start)


def _receive(pipe: Connection, seconds: float, *kinds: Any) -> Any:
    try:
        message = pipe.recv() if pipe.poll(seconds) else None
    except EOFError:
        raise SetupError("a load process died; what it printed says why") from None
    if not isinstance(message, kinds):
        raise SetupError(f"a load process did not answer within {seconds:.0f} s")
    return message

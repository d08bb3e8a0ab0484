"""Attacker: a load process. It opens the target once, then puts one load after the other on it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

from detserve.bench.pacer import Closed, Load, Open
from detserve.bench.summary import Hit
from detserve.bench.target import Attack, Outcome, Target
from detserve.pictures.depth import WithDepth

REPORT_SECONDS = 0.25
PAUSE_SECONDS = 0.01
"""Seconds that a caller waits after a failed hit, so that it does not spin on a server that is down."""


@dataclass(frozen=True)
class TimedLoad:
    """One load on the target. start, end: seconds of time.monotonic(), which all processes of a machine share.

    pictures: the numbers of the pictures to send, in turn.
    """

    load: Load
    pictures: Sequence[int]
    start: float
    end: float


@dataclass(frozen=True)
class Probe:
    """The runner asks for one hit with the first picture. The load process sends back its Outcome."""


@dataclass(frozen=True)
class Ready:
    """The load process has opened the target. fault: why it could not; then it ends."""

    fault: str | None = None


@dataclass(frozen=True)
class Chunk:
    """The hits that were answered since the last chunk."""

    hits: list[Hit]


@dataclass(frozen=True)
class Done:
    """A load is over, its last hit answered. cpu: processor seconds of this process that it took."""

    cpu: float


@dataclass(frozen=True)
class LoadProcess:
    """What one of several load processes is given.

    share: its number among the `shares` processes; stop: set when the load shall end; pipe: to its runner.
    """

    target: Target
    pictures: Sequence[bytes | WithDepth]
    share: int
    shares: int
    stop: Event
    pipe: Connection


def main(process: LoadProcess) -> None:
    """Do what the runner sends, until it sends None or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's
    with contextlib.suppress(EOFError, BrokenPipeError):
        asyncio.run(_serve(process))


async def _serve(process: LoadProcess) -> None:
    try:
        context = process.target.open()
        attack = await context.__aenter__()
    except Exception as error:
        process.pipe.send(Ready(f"{type(error).__name__}: {error}"))
        return
    try:
        process.pipe.send(Ready())
        while command := await asyncio.to_thread(process.pipe.recv):
            if isinstance(command, Probe):
                process.pipe.send(await attack(process.pictures[0]))
            else:
                cpu = time.process_time()
                await _Attack(process, command, attack).run()
                process.pipe.send(Done(time.process_time() - cpu))
    finally:
        await context.__aexit__(None, None, None)


@dataclass
class _Attack:
    """One load as it is put on the target."""

    process: LoadProcess
    timed: TimedLoad
    attack: Attack
    hits: list[Hit] = field(default_factory=list)
    reported: float = 0.0
    count: int = 0

    async def run(self) -> None:
        """Put the load on the target and report every hit."""
        load = self.timed.load
        if isinstance(load, Closed):
            await asyncio.sleep(self.timed.start - time.monotonic())
            callers = load.callers(self.process.share, self.process.shares)
            await asyncio.gather(*(self._call() for _ in range(callers)))
        else:
            await self._arrive(load)
        self.process.pipe.send(Chunk(self.hits))

    async def _call(self) -> None:
        """One caller of a closed loop."""
        while (now := time.monotonic()) < self.timed.end and not self.process.stop.is_set():
            answer = await self._hit(now)
            if not answer.ok:
                await asyncio.sleep(PAUSE_SECONDS)

    async def _arrive(self, load: Open) -> None:
        """All arrivals of an open loop, then wait for the last of their answers."""
        loop = asyncio.get_running_loop()
        running: set[asyncio.Task[Outcome]] = set()

        def send(due: float) -> None:
            task = loop.create_task(self._hit(due))
            running.add(task)
            task.add_done_callback(running.discard)

        def pace() -> None:
            for offset in load.due(self.process.share, self.process.shares):
                due = self.timed.start + offset
                if due >= self.timed.end or not _sleep_until(due, self.process.stop):
                    return
                loop.call_soon_threadsafe(send, due)

        # A thread, because asyncio's timers are late by up to a millisecond, which would be counted as latency.
        await asyncio.to_thread(pace)
        await asyncio.gather(*running)

    async def _hit(self, due: float) -> Outcome:
        turn = self.process.share + self.count * self.process.shares
        number = self.timed.pictures[turn % len(self.timed.pictures)]
        self.count += 1
        answer = await self.attack(self.process.pictures[number])
        end = time.monotonic()
        self.hits.append(Hit(due, end, answer.status, answer.stages))
        if end - self.reported > REPORT_SECONDS:
            self.process.pipe.send(Chunk(self.hits))
            self.hits, self.reported = [], end
        return answer


def _sleep_until(moment: float, stop: Event | threading.Event) -> bool:
    """Sleep until that moment of time.monotonic() → True; False as soon as it is told to stop."""
    while not stop.is_set():
        left = moment - time.monotonic()
        if left <= 0:
            return True
        time.sleep(min(left, REPORT_SECONDS))
    return False

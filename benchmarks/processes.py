"""Processes: a server and all that it starts."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


@contextmanager
def started(
    command: Sequence[str], log: Path, folder: Path, environment: Mapping[str, str]
) -> Iterator[psutil.Process]:
    """A server and all that it starts, ended with the block."""
    with log.open("w") as output:
        process = psutil.Popen(
            list(command), cwd=folder, env=dict(environment), stdout=output, stderr=output, process_group=0
        )
    try:
        yield process
    finally:
        resume(process)
        left = tree(process)
        process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(left, 30)
        for straggler in alive:
            straggler.kill()
        psutil.wait_procs(alive, 10)


def tree(process: psutil.Process) -> list[psutil.Process]:
    """A process and those below it; none of one that has ended."""
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def resume(process: psutil.Process) -> None:
    """Let it and those below it run on."""
    for each in tree(process):
        with suppress(psutil.NoSuchProcess):
            each.resume()

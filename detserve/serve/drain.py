"""Drain: TorchServe is brought to where it can be ended without the loss of a request that it has taken.

On SIGTERM TorchServe closes every connection at once, with what waits and what is being worked on. So before that:

1. Each model is told `min_worker=0` with a `max_worker` that lets its workers be: TorchServe forgets them without
   ending them. They go on with the queue, while any later request is answered 503 and its connection closed.
2. When the queues are empty and the thread of every worker waits for work, all that was taken has been answered.
3. No connection is accepted any more; who had one is answered, or is idle, or slower than a moment.
"""

from __future__ import annotations

import resource
import time
from contextlib import suppress

import psutil

from detserve.errors import ServerFailed
from detserve.serve.config import LOOPBACK, Settings
from detserve.serve.management import Management
from detserve.serve.output import Output, busy_workers

_LOOK = 0.05
_DOORWAY = 1.0
"""Seconds for requests that are still on their way in when no more connections are accepted."""


def drain(settings: Settings, java: int, output: Output, timeout: float) -> None:
    """Let a running server answer what it has taken, and take no more.

    java: its pid; timeout: seconds that the answers may take.
    """
    deadline = time.monotonic() + timeout
    management = Management(f"http://{LOOPBACK}:{settings.management_port}", settings.run_dir, timeout=timeout)
    with suppress(ServerFailed):  # one that does not answer can only be ended
        delay = management.close()
        while management.waiting() and time.monotonic() < deadline:
            time.sleep(_LOOK)
        time.sleep(min(delay, max(0.0, deadline - time.monotonic())))  # a worker's thread may wait to fill its batch
        while time.monotonic() < deadline and _busy(output, deadline):
            time.sleep(_LOOK)
    _accept_no_more(java)
    ports = {settings.port, settings.grpc_port}
    deadline = time.monotonic() + _DOORWAY
    while _connected(java, ports) and time.monotonic() < deadline:
        time.sleep(_LOOK)


def _busy(output: Output, deadline: float) -> bool:
    dump = output.thread_dump(deadline - time.monotonic())
    return dump is None or bool(busy_workers(dump))


def _accept_no_more(pid: int) -> None:
    """Let Java open no more files: TorchServe has no way to stop accepting but the one that closes what it accepted."""
    with suppress(ProcessLookupError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, hard))


def _connected(pid: int, ports: set[int]) -> bool:
    """Whether anyone is connected to one of these ports of that process."""
    with suppress(psutil.Error):
        connections = psutil.Process(pid).net_connections("tcp")
        return any(c.laddr.port in ports for c in connections if c.status == psutil.CONN_ESTABLISHED)
    return False

"""Drain: let TorchServe finish the requests that it has accepted, so that it can be ended without losing one.

On SIGTERM TorchServe closes every connection at once, even those whose requests wait or are being worked on. So before:

1. Each model is given `min_worker=0` and a `max_worker` above its number of workers: TorchServe forgets the workers
   without ending them. They go on with the queue. A later request is answered 503, and its connection is closed.
2. When the queues are empty and the thread of every worker waits for work, every accepted request has been answered.
3. No more connections are accepted. Those that are open get a moment to end.
"""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress

import psutil

from detserve.errors import ServerFailed
from detserve.serve.config import LOOPBACK, Settings
from detserve.serve.management import Management
from detserve.serve.output import Output, busy_workers

_LOOK = 0.05
_DOORWAY = 1.0
"""Seconds for requests that are still arriving when no more connections are accepted."""


def drain(settings: Settings, java: int, output: Output, timeout: float) -> None:
    """Let a running server answer the requests that it has accepted, and accept no more.

    java: its pid; timeout: seconds that the answers may take.
    """
    deadline = time.monotonic() + timeout
    management = Management(f"http://{LOOPBACK}:{settings.management_port}", settings.run_dir, timeout=timeout)
    with suppress(ServerFailed):  # one that does not answer can only be ended
        delay = management.close()
        while (waiting := management.waiting()) and time.monotonic() < deadline:
            time.sleep(_LOOK)
        if waiting:
            print(f"serve: {waiting} requests still wait after {timeout:.0f} s; they are lost", file=sys.stderr)
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
    """Let Java open no more files. TorchServe itself can stop accepting only by closing what it has accepted."""
    with suppress(ProcessLookupError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, hard))


def _connected(pid: int, ports: set[int]) -> bool:
    """Whether anyone is connected to one of these ports of that process."""
    with suppress(psutil.Error):
        connections = psutil.Process(pid).net_connections("tcp")
        return any(c.laddr.port in ports for c in connections if c.status == psutil.CONN_ESTABLISHED)
    return False

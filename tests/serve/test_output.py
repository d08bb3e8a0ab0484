"""What Java prints is read by a thread that is in nobody's way."""

from __future__ import annotations

import signal
import subprocess
import threading
from pathlib import Path

import pytest

from detserve.serve.output import Output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_are_left_to_the_thread_that_acts_on_them(number: signal.Signals) -> None:
    """The kernel gives a process's signal to any thread that takes it, and Python wakes no other for it."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdin
        before = set(threading.enumerate())
        output = Output(program)
        (reader,) = set(threading.enumerate()) - before
        program.stdin.write("Model server started.\n")
        program.stdin.flush()
        assert output.started.wait(10)
        status = Path(f"/proc/self/task/{reader.native_id}/status").read_text()
        blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
        assert blocked >> (number - 1) & 1
        program.stdin.close()
        output.join(10)

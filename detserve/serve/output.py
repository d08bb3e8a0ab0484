"""Output: what TorchServe's Java process prints, read by a thread line by line."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections import deque

_STARTED = "Model server started."
_DUMP_BEGINS, _DUMP_ENDS = "Full thread dump", "JNI global ref"
# A line with the thread's name, then indented lines. Lines that were logged meanwhile may stand between two threads.
_THREAD = re.compile(r'^"([^"]+)".*\n((?:[ \t].*\n)*)', re.MULTILINE)


class Output:
    """The lines that a Java process prints. echo: whether they are passed on to stderr."""

    def __init__(self, java: subprocess.Popen[str]) -> None:
        self.echo = False
        self.started = threading.Event()
        """Set once all ports listen."""
        self._java = java
        self._last: deque[str] = deque(maxlen=500)
        self._dump: list[str] = []
        self._in_dump = False
        self._dumped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait until Java has closed its output. timeout: seconds."""
        self._thread.join(timeout)

    def cause(self) -> str:
        """The line that says why Java ended: the innermost exception, or "" when there is none."""
        lines = [line.strip() for line in self._last if line.strip()]
        inner = [line for line in lines if line.startswith("Caused by: ")][-1:]
        outer = [line for line in lines if re.search(r"^Invalid configuration|^Error: |(Exception|Error)\b", line)][:1]
        return "".join(inner or outer or lines[-1:]).removeprefix("Caused by: ")

    def thread_dump(self, timeout: float) -> str | None:
        """The stacks of Java's threads, a paragraph each. timeout: seconds, after which the answer is None."""
        self._dumped.clear()
        self._java.send_signal(signal.SIGQUIT)
        return "".join(self._dump) if self._dumped.wait(timeout) else None

    def _read(self) -> None:
        # Python acts on signals in its main thread, which waits in a system call: one that this thread is given, as
        # happens when a stopped server is let go and told to end, would never wake it.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        assert self._java.stdout is not None
        with self._java.stdout as stream:
            for line in stream:
                if line.startswith(_STARTED):
                    self.started.set()
                if self._in_dump or line.startswith(_DUMP_BEGINS):
                    self._keep_dump(line)
                else:
                    self._last.append(line.rstrip())
                if self.echo:
                    sys.stderr.write(line)

    def _keep_dump(self, line: str) -> None:
        if not self._in_dump:
            self._in_dump, self._dump = True, []
        self._dump.append(line)
        if line.startswith(_DUMP_ENDS):
            self._in_dump = False
            self._dumped.set()


def busy_workers(dump: str) -> list[str]:
    """From a thread dump of TorchServe, the names of the threads that serve a worker and do not wait for work."""
    return [
        name
        for name, stack in _THREAD.findall(dump)
        if "org.pytorch.serve.wlm.WorkerThread.run" in stack and "org.pytorch.serve.wlm.Model.pollBatch" not in stack
    ]

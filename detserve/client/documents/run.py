"""Run: documents → pages that are sent several at a time → results, in order."""

from __future__ import annotations

import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tqdm import tqdm

from detserve.client.answer import Answer, Failure
from detserve.client.documents.job import Job, Wanted
from detserve.client.documents.output import Answered
from detserve.client.documents.page import DocumentError, Page
from detserve.errors import RequestError

AHEAD = 2
"""Pages that are rendered, and neither answered nor written, for each that is sent at once: what is held in memory of
any document."""

LOOK_SECONDS = 0.2
"""How often a wait for an answer looks whether it is to end."""

Step = tuple[Job, Page | None, Future[Answer] | None]
"""A page of a job and its answer to come; None and None: all pages of the job came before."""


class Interruption:
    """Ctrl-C while documents are read: noted at once, and raised where Python runs by itself.

    pikepdf and PDFium call back into Python from C++, where a KeyboardInterrupt ends the whole process. A second Ctrl-C
    is raised at once.
    """

    def __init__(self) -> None:
        self._came = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raises KeyboardInterrupt where Ctrl-C has come."""
        if self._came:
            raise KeyboardInterrupt

    def _note(self, *_: object) -> None:
        self._came = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Run:
    """All documents of one command.

    One thread renders, and writes; others wait for answers. What a page of one document costs in time is spent while
    those before it are read by the server, whatever document they are of.
    """

    def __init__(
        self,
        ask: Callable[[bytes], Answer],
        bar: tqdm,  # type: ignore[type-arg]  # not at run time
        name: str,
        at_once: int,
        interruption: Interruption,
    ) -> None:
        self.failures = 0
        self._at_once = at_once
        self._interruption = interruption
        self._ask = ask
        self._bar = bar
        self._name = name
        self._steps: deque[Step] = deque()

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Do all jobs. Of a job that fails, or is interrupted, nothing is left."""
        pool = ThreadPoolExecutor(self._at_once)
        with ExitStack() as at_last:
            # It waits for answers under way, which a person may interrupt too.
            at_last.callback(pool.shutdown, cancel_futures=True)
            for job in jobs:
                at_last.callback(job.discard)
            for job in jobs:
                self._send(job, pool)
            while self._steps:
                self._settle()

    def _send(self, job: Job, pool: ThreadPoolExecutor) -> None:
        """Send the pages of a job, and settle those of earlier ones meanwhile."""
        missing = 1
        try:
            opened = job.open()
            self._bar.total = (self._bar.total or 0) + opened.count - 1
            missing = opened.count
            try:
                for page in job.pages(opened):
                    self._steps.append((job, page, pool.submit(self._ask, page.data)))
                    missing -= 1
                    self._interruption.check()
                    while len(self._steps) >= AHEAD * self._at_once:
                        self._settle()
            finally:
                opened.close()
        except (DocumentError, RequestError, OSError) as error:
            self._fail(job, error)
        self._bar.update(missing)  # those of a document that failed are not to come
        self._steps.append((job, None, None))

    def _settle(self) -> None:
        """Wait for the first of the answers to come, and write it."""
        self._interruption.check()
        job, page, answer = self._steps.popleft()
        try:
            if job.failed:
                return
            if page is None or answer is None:
                job.finish()
                return
            while not wait([answer], LOOK_SECONDS).done:
                self._interruption.check()
            job.add(Answered(page, answer.result().detections))
        except Failure as error:
            self._fail(job, error, f"page {page.number}: " if page else "")
        except (DocumentError, RequestError, OSError) as error:
            self._fail(job, error)
        finally:
            self._bar.update(page is not None)

    def _fail(self, job: Job, error: Exception, where: str = "") -> None:
        """Tell of a document that failed, once, and remove what there is of its results."""
        reason = getattr(error, "strerror", None) or error
        tqdm.write(f"{self._name}: {job.path}: {where}{reason}", file=sys.stderr)
        self.failures += 1
        job.failed = True
        job.discard()


def run(
    files: Sequence[Path],
    names: Sequence[str],
    wanted: Wanted,
    ask: Callable[[bytes], Answer],
    at_once: int,
    name: str = "client",
) -> int:
    """Read documents and write their results → how many failed, each told on a line of stderr.

    names: of the results, one a file; ask: the answer to a picture's bytes, called by at_once threads; name: of the
    command, before its messages.
    """
    jobs = [Job(path, name, wanted) for path, name in zip(files, names, strict=True)]
    # Shown only where a person watches. A document counts as a page until it is opened.
    with Interruption() as interruption, tqdm(total=len(jobs), unit="page", disable=None) as bar:
        doing = Run(ask, bar, name, at_once, interruption)
        doing(jobs)
    return doing.failures

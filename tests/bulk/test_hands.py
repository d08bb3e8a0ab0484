"""What hands batches to processes, without an archive: their deaths, and what is known before they are done."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from detserve.bulk import local, report, shards
from detserve.bulk.job import Batch, Entry, Job, Tally
from detserve.bulk.keys import Keys
from detserve.bulk.local import Local
from detserve.bulk.ray_job import OnRay
from detserve.bulk.report import Progress
from detserve.bulk.sources import Listing
from detserve.bulk.worker import MOST_DEATHS, Worker
from detserve.errors import SetupError

PICTURES = [Entry(f"/{number}.jpg", 1, 2) for number in range(100)]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    out = tmp_path / "rows"
    return Job(
        model="fd1", version="1.0", sha256="a" * 64, archive=out, out=out, scratch=shards.begin(out), format="jsonl"
    )


class Fragile(Worker):
    """Its process dies over some pictures, and so many times when it writes their rows."""

    deadly: Sequence[int] = ()
    dies_writing = 0

    def _start(self) -> None:
        self.starts = getattr(self, "starts", 0) + 1
        self.written: list[int] = getattr(self, "written", [])

    def _end(self) -> None:
        pass

    def _run(self, batch: Batch) -> Tally | None:
        if batch.fatal:
            self._journal.append(["dead"], 1)
        while (done := self._journal.state.rows) < len(batch.entries):
            if done in self.deadly:
                return None
            self._journal.append(["row"], 0)
        if self.dies_writing:
            self.dies_writing -= 1
            return None
        self.written.append(done)
        return Tally(pictures=done)


def test_a_process_that_dies_while_it_writes_is_started_once_more(job: Job) -> None:
    worker = Fragile(job)
    worker.dies_writing = 1
    assert worker(PICTURES) == Tally(pictures=100) and worker.starts == 2
    worker.dies_writing = 5
    with pytest.raises(SetupError, match=r"ends while it writes the rows of 100 pictures to .*; .*--shard takes fewer"):
        worker(PICTURES)
    assert worker.starts == 3
    worker.close()


def test_many_deadly_pictures_in_a_row_end_a_run_that_has_their_rows(job: Job) -> None:
    worker = Fragile(job)
    worker.deadly = range(10, 50)
    with pytest.raises(SetupError, match=r"processes end one after the other, the last one at /29\.jpg; "):
        worker(PICTURES)
    assert worker.written == [10 + MOST_DEATHS // 2], "the next run begins behind them"
    worker.deadly = [*range(0, 19), *range(20, 39)]
    worker._deaths = 0
    assert worker(PICTURES) == Tally(pictures=100), "one between them that is looked at, and it is the pictures"
    worker.close()


class Slow:
    """A worker that begins its first batch, and does not end it before it is told to."""

    go_on = threading.Event()

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, entries: Sequence[Entry]) -> Tally:
        self.go_on.wait(5)
        return Tally(pictures=len(entries))

    def progress(self) -> tuple[int, int]:
        return 0, 0

    def stop(self) -> None:
        self.go_on.set()

    kill = close = stop


@pytest.fixture
def at_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(report, "QUIET_SECONDS", 0)


@pytest.mark.usefixtures("at_each_look")
def test_how_many_there_are_is_shown_while_nothing_is_done(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local, "Worker", Slow)
    Slow.go_on.clear()
    (tmp_path / "list.txt").write_text("".join(f"/{number}.jpg\n" for number in range(1000)))
    listing, progress = Listing([str(tmp_path / "list.txt"), str(tmp_path / "gone*.jpg")], Keys()), Progress()
    list(progress.reading([b"a", b"b", b"c"]))
    done = 0
    with Local(job, 2) as hands, closing(hands.run(listing, 10)) as tallies:
        for tally in tallies:
            progress.show(done, 0, listing)
            assert not tally or Slow.go_on.is_set(), "not all are listed while the first are looked at"
            if tally is None and listing.complete and progress.bar.total == 1000:
                assert done == 0
                Slow.go_on.set()
            done += tally.pictures if tally else 0
    progress.show(done, 0, listing)
    progress.close()
    said = capsys.readouterr().err
    assert "reading what is done: 3 rows" in said and "1000/1000" in said
    assert "0/1000 [" in said, "with what is left, before anything is done"
    assert "no picture at " in said.replace("\r", "\n"), "at once, and not after hours"


def test_fewer_actors_than_were_asked_for_are_said(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = {"CPU": 4.0, "GPU": 1.0}
    assert OnRay(job, "auto", 64)._fitting(found) == 4
    assert capsys.readouterr().err == "4 actors instead of 64: Ray at auto has no more CPUs\n"
    assert OnRay(job, "auto", None)._fitting(found) == 4 and OnRay(job, "auto", None, 16)._fitting(found) == 2
    assert not capsys.readouterr().err
    with pytest.raises(SetupError, match="Ray at auto has no GPU to offer"):
        OnRay(job, "auto", 2, 16)._fitting({"CPU": 4.0})

"""Shards and the journal of the rows before them, without a model."""

from __future__ import annotations

import os
import pickle
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from detserve.bulk import rows, shards, todo
from detserve.bulk.job import FORMATS, Entry, Job
from detserve.bulk.journal import Journal, State
from detserve.bulk.work import Unwritable, Work
from detserve.core.detections import Detections
from detserve.core.masks import Masks
from detserve.errors import SetupError
from detserve.worker.response import objects

SHA = "a" * 64
FACE = {"xywh_ratio": [0.5, 0.25, 0.125, 0.1], "conf": 0.912015, "landmarks_ratio": [0.123456] * 10}
ENTRY = st.builds(
    Entry,
    path=st.one_of(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), st.just("\udcff.jpg")),
    size=st.none() | st.integers(0, 2**40),
    mtime=st.none() | st.integers(0, 4_000_000_000_000_000),
    etag=st.none() | st.text(st.characters(codec="ascii"), min_size=1),
)


def job(out: Path, form: str = "parquet") -> Job:
    scratch = shards.begin(out)
    return Job(model="fd1", version="1.0", sha256=SHA, archive=out, out=out, scratch=scratch, format=form)


def test_a_shard_has_a_column_for_every_key_of_an_answer() -> None:
    """Parquet drops what the schema does not name, without a word."""
    box, score = np.array([[1, 1, 8, 8]], np.float32), np.ones(1, np.float32)
    points = np.ones((1, 4, 2), np.float32)
    found = Detections(
        box, score, points, points, (points[0],), ("text",), score, ("label",), np.ones(1, np.int64),
        Masks(np.ones((1, 28, 28), np.float32), box, "exact"),
    )  # fmt: skip
    assert all(value is not None for value in vars(found).values()), "a new field of Detections is missing above"
    answered = {key for form in ("rle", "polygon") for key in objects(found, (10, 10), form)[0]}
    fields = rows.schema().field("detections").type.value_type
    assert {field.name for field in fields} == answered


def a_row(entry: Entry, of: Job) -> rows.Row:
    return rows.row(entry, of, [FACE], (640, 480), {"read": 1.0, "decode": 2.0, "infer": 3.0, "post": 4.0})


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=15)
@given(entries=st.lists(ENTRY, min_size=1, max_size=5))
def test_what_is_written_is_done_for_this_archive_and_no_other(form: str, entries: list[Entry]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows"
        given_job = job(out, form)
        written = [a_row(entry, given_job) for entry in entries[:-1]]
        written.append(rows.row(entries[-1], given_job, ("bad_picture", "broken")))
        shards.write(written, entries, given_job)
        assert set(shards.done(out, SHA)) == {entry.key for entry in entries}
        assert list(shards.done(out, "b" * 64)) == []
        last = {"path": entries[-1].shown, "error_type": "bad_picture", "error_message": "broken"}
        assert list(shards.errors(out, SHA)) == [last]
        shards.write(written, entries, given_job)
        assert len(list(out.glob("part-*"))) == 1, "the same pictures are the same shard"
        assert list(given_job.scratch.iterdir()) == []


def test_a_row_is_answered_as_it_was(tmp_path: Path) -> None:
    given_job = job(tmp_path)
    entries = [Entry("/a.jpg", 3, 1_700_000_000_123_456), Entry("/b.jpg")]
    shards.write([a_row(entries[0], given_job), rows.row(entries[1], given_job, [])], entries, given_job)
    (path,) = tmp_path.glob("part-*")
    first, second = parquet.read_table(path).to_pylist()
    (found,) = first["detections"]
    assert {name: value for name, value in found.items() if value is not None} == FACE
    assert first["mtime"].isoformat() == "2023-11-14T22:13:20.123456+00:00" and first["width"] == 640
    assert second["detections"] == [] and second["status"] == "ok" and second["size"] is None
    assert path.stat().st_mode & 0o777 == 0o644


def test_what_is_left_of_an_old_run_can_write_nothing_any_more(tmp_path: Path) -> None:
    old = job(tmp_path)
    new = job(tmp_path)
    entry = Entry("/a.jpg", 1, 2)
    with pytest.raises(shards.Superseded, match="another run has taken over"):
        shards.write([a_row(entry, old)], [entry], old)
    assert list(tmp_path.glob("part-*")) == []
    shards.write([a_row(entry, new)], [entry], new)
    shards.end(new.scratch)
    assert [path.name[:5] for path in tmp_path.iterdir()] == ["part-"]


def test_a_run_that_lives_does_not_write_into_a_folder_that_is_being_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = job(tmp_path)
    (old.scratch / "todo").touch()
    taken: list[Path] = []

    def take(folder: Path, **_: object) -> None:
        assert not old.scratch.exists() and (folder / "todo").exists()
        taken.append(folder)

    with monkeypatch.context() as patch:
        patch.setattr(shards.shutil, "rmtree", take)
        job(tmp_path)
    assert len(taken) == 1
    shards.begin(tmp_path)
    assert not taken[0].exists(), "what a killed run has left of it goes as well"


def test_rows_that_fit_no_shard_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of = SimpleNamespace(job=job(tmp_path))
    entry = Entry("/a.jpg", 1, 2)
    with pytest.raises(Unwritable, match=r"^no shard can be made of the rows of /a\.jpg to /a\.jpg: .*nonsense"):
        Work._write(of, [a_row(entry, of.job) | {"width": "nonsense"}], [entry])  # type: ignore[arg-type]
    assert "Traceback" in capsys.readouterr().err


def test_a_shard_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    given_job = job(tmp_path)
    entry = Entry("/a.jpg", 1, 2)
    with pytest.raises(ValueError, match="nonsense"):
        shards.write([a_row(entry, given_job) | {"width": "nonsense"}], [entry], given_job)
    assert list(tmp_path.glob("part-*")) == [] == list(given_job.scratch.iterdir())


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    for name in ("part-1.parquet", "part-2.jsonl"):
        (tmp_path / name).write_bytes(b"half of it")
        with pytest.raises(SetupError, match=rf"{name} is no whole shard .*; move it away"):
            list(shards.done(tmp_path, SHA))
        (tmp_path / name).unlink()


def test_a_journal_outlives_a_torn_end() -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        journal = Journal(file.fileno())
        journal.clear()
        journal.append([{"a": 1}, {"a": 2}], 1)
        state = journal.state
        assert (state.rows, state.failed) == (2, 1)
        os.pwrite(file.fileno(), pickle.dumps([{"a": 3}])[:10], state.end)
        assert Journal(file.fileno()).read() == [{"a": 1}, {"a": 2}]
        journal.append([{"a": 4}], 0)
        assert journal.read() == [{"a": 1}, {"a": 2}, {"a": 4}]
        journal.clear()
        assert journal.state == State() and journal.read() == []


def test_batches_are_read_by_their_places(tmp_path: Path) -> None:
    batches = [[Entry(f"/{number}/{i}.jpg", i, None, "x") for i in range(number + 1)] for number in range(7)]
    batches[6] = [Entry("/\udcff.jpg", None, 5)]
    written = todo.write(iter(batches), tmp_path)
    first = next(written)
    assert todo.read(tmp_path, first) == batches[0], "before the others are known"
    places = [first, *written]
    assert [todo.read(tmp_path, places[number]) for number in (6, 0, 3)] == [batches[number] for number in (6, 0, 3)]
    with pytest.raises(SetupError, match=f"another run has taken over {tmp_path}"):
        todo.read(tmp_path / "gone", places[0])
    with pytest.raises(SetupError, match=f"cannot write to {tmp_path}: No such file"):
        list(todo.write([], tmp_path / "gone"))


@pytest.mark.parametrize("form", FORMATS)
def test_what_failed_can_be_done_again(form: str, tmp_path: Path) -> None:
    given_job = job(tmp_path, form)
    entries = [Entry(f"/{number}.jpg", 1, 2) for number in range(4)]
    kinds = ("unreadable", "bad_picture", "unreadable")
    failed = [rows.row(entry, given_job, (kind, "no")) for entry, kind in zip(entries[1:], kinds, strict=True)]
    shards.write([a_row(entries[0], given_job), *failed[:2]], entries[:3], given_job)
    shards.write(failed[2:], entries[3:], given_job)
    before = {entry.key for entry in entries}
    shards.forget(tmp_path, "b" * 64, ["unreadable"], given_job.scratch)
    assert set(shards.done(tmp_path, SHA)) == before, "of this archive only"
    shards.forget(tmp_path, SHA, ["unreadable", "process_died"], given_job.scratch)
    assert set(shards.done(tmp_path, SHA)) == {entries[0].key, entries[2].key}
    assert len(list(tmp_path.glob("part-*"))) == 1 and list(given_job.scratch.iterdir()) == []


def test_the_name_of_a_shard_is_of_its_pictures_and_its_archive(tmp_path: Path) -> None:
    given_job = job(tmp_path)
    entries = [Entry("/a.jpg", 1, 2), Entry("/b.jpg", 1, 2)]
    names = {
        given_job.shard(entries),
        given_job.shard(entries[:1]),
        replace(given_job, sha256="b" * 64).shard(entries),
        given_job.shard([entries[0]._replace(mtime=3), entries[1]]),
    }
    assert len(names) == 4 and given_job.shard(entries) == given_job.shard(list(entries))

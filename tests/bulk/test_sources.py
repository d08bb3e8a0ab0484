"""What folders, globs, manifests and buckets stand for."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, parquet

from detserve.bulk import stores
from detserve.bulk.globs import Glob
from detserve.bulk.job import Entry
from detserve.bulk.keys import Keys
from detserve.bulk.sources import SMALLEST, Listing, batches, check, expand
from detserve.errors import SetupError


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Pictures, and what is none."""
    for name in ("a.jpg", "b/c.PNG", "b/d/e.tiff", "b/.hidden.jpg", ".git/f.jpg", "b/notes.txt", "b/d/g[1].webp"):
        path = tmp_path / "top" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "top"


def names(source: Path | str, top: Path) -> list[str]:
    return sorted(str(Path(entry.path).relative_to(top)) for entry in expand(str(source)))


def test_a_folder_stands_for_all_pictures_below_it(top: Path) -> None:
    assert names(top, top) == ["a.jpg", "b/c.PNG", "b/d/e.tiff", "b/d/g[1].webp"]
    (entry,) = expand(str(top / "a.jpg"))
    status = (top / "a.jpg").stat()
    assert entry == Entry(str(top / "a.jpg"), 5, status.st_mtime_ns // 1000)
    assert names(top / "b/d/g[1].webp", top) == ["b/d/g[1].webp"], "a name may have brackets"


def test_links_are_followed_and_each_folder_is_seen_once(top: Path, tmp_path: Path) -> None:
    (top / "b" / "circle").symlink_to(top)
    (top / "also").symlink_to(top / "b")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "h.gif").touch()
    (top / "far").symlink_to(outside)
    assert names(top, top) == ["a.jpg", "b/c.PNG", "b/d/e.tiff", "b/d/g[1].webp", "far/h.gif"]


def test_globs_stand_for_files_and_folders(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(top / "**/*.tiff", top) == ["b/d/e.tiff"]
    assert names(top / "b/[cd]*", top) == ["b/c.PNG", "b/d/e.tiff", "b/d/g[1].webp"]
    monkeypatch.chdir(top / "b")
    assert names("*.PNG", top) == ["b/c.PNG"], "paths are absolute"


def test_globs_over_loops_of_links_stand_for_each_picture_once(top: Path) -> None:
    (top / "b" / "circle").symlink_to(top)
    (top / "also").symlink_to(top / "b")
    assert names(top / "**/*", top) == ["a.jpg", "b/c.PNG", "b/d/e.tiff", "b/d/g[1].webp"], "no notes.txt either"
    assert names(top / "als*/*.PNG", top) == ["also/c.PNG"]
    assert not list(stores.matches(Glob(str(top / "nowhere/*.jpg"))))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    (found,) = expand(str(pipe))
    with pytest.raises(stores.Unreadable, match="not a regular file"):
        stores.read(found)
    with pytest.raises(stores.Unreadable, match="a folder that cannot be listed"):
        stores.read(Entry(str(tmp_path)))


def test_a_time_that_is_no_date_is_none() -> None:
    assert stores._micros(1_700_000_000_123_456_789) == 1_700_000_000_123_456
    assert stores._micros(253_402_300_800 * 10**9) is None, "the year 10000"


def test_manifests_of_all_kinds(top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(top)
    (tmp_path / "list.txt").write_text("a.jpg\n\nb/c.PNG\ngone.jpg\n")
    entries = list(expand(str(tmp_path / "list.txt")))
    assert [entry.path for entry in entries] == [str(top / name) for name in ("a.jpg", "b/c.PNG", "gone.jpg")]
    assert [entry.size for entry in entries] == [5, 7, None], "what is not there has its row all the same"
    time = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    table = pa.table({"path": ["a.jpg", "s3://far/b.jpg"], "size": [3, 4], "mtime": [time, None], "etag": ["", "x"]})
    parquet.write_table(table, tmp_path / "list.parquet")
    csv.write_csv(table, tmp_path / "list.csv")
    for kind in ("parquet", "csv"):
        known, far = expand(str(tmp_path / f"list.{kind}"))
        assert known.path == str(top / "a.jpg") and known.size == 3
        assert known.mtime == int(time.timestamp()) * 1_000_000 + 678901, "as it is told, and nobody was asked"
        assert far == Entry("s3://far/b.jpg", 4, None, "x")


def test_a_manifest_is_read_by_its_columns_and_not_by_its_first_rows(tmp_path: Path) -> None:
    lines = [
        "path,size,mtime,etag",
        *[f"/{number}.jpg,1,5," for number in range(60_000)],
        "/NA,2,,00123",
        "/b,3,-7,abc",
    ]
    (tmp_path / "list.CSV").write_text("\n".join(lines))
    entries = list(expand(str(tmp_path / "list.CSV")))
    assert entries[0] == Entry("/0.jpg", 1, 5) and len(entries) == 60_002
    assert entries[-2:] == [Entry("/NA", 2, None, "00123"), Entry("/b", 3, -7, "abc")]
    time = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    for unit, zone in (("ns", "UTC"), ("ms", None)):
        kinds = {"path": pa.dictionary(pa.int8(), pa.string()), "size": pa.int32(), "mtime": pa.timestamp(unit, zone)}
        row = {"path": "/a.jpg", "size": 3, "mtime": time if zone else time.replace(microsecond=678000, tzinfo=None)}
        parquet.write_table(pa.Table.from_pylist([row], pa.schema(kinds)), tmp_path / "list.parquet")
        (entry,) = expand(str(tmp_path / "list.parquet"))
        assert entry.mtime == int(time.timestamp()) * 1_000_000 + (678901 if zone else 678000)


def test_rows_of_a_manifest_that_are_not_sound_are_named(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    for row, message in (
        (",,", "row 2 of the manifest .*: no path"),
        ("b.jpg,3,1700000000123456789", "row 2 of the manifest .*: mtime 1700000000123456789 is no date in microsec"),
        ("b.jpg,many,3", "cannot read the manifest .*many"),
        ("b.jpg,3,yesterday", "cannot read the manifest .*yesterday"),
    ):
        path.write_text(f"path,size,mtime\na.jpg,3,5\n{row}\n")
        with pytest.raises(SetupError, match=message):
            list(expand(str(path)))
    parquet.write_table(pa.table({"path": pa.array(["a.jpg", None])}), tmp_path / "list.parquet")
    with pytest.raises(SetupError, match=r"row 2 of the manifest .*: no path"):
        list(expand(str(tmp_path / "list.parquet")))


def test_a_source_that_ends_early_does_not_end_the_others(top: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("path,size\na.jpg,3\nb.jpg,many\n")
    (tmp_path / "odd.txt").write_text("s4://nowhere/a.jpg\n/a\0b.jpg\n")
    listing = Listing([str(tmp_path / "bad.csv"), str(tmp_path / "odd.txt"), str(top / "a.jpg")], Keys())
    listed = list(listing)
    assert [entry.path for entry in listed] == ["s4://nowhere/a.jpg", "/a\0b.jpg", str(top / "a.jpg")]
    assert listing.complete and len(listing.faults) == 1 and "cannot read the manifest" in listing.faults[0]
    with pytest.raises(SetupError, match="cannot open s4://nowhere"):
        stores.read(listed[0])


def test_a_bucket_is_asked_again_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "PAUSES", (0, 0))
    answers: list[str | Exception] = [OSError("busy"), TimeoutError(), "here"]

    def ask(_: str) -> str:
        answer = answers.pop(0)
        if isinstance(answer, str):
            return answer
        raise answer

    assert stores.patient(ask, "a.jpg") == "here"
    answers = [FileNotFoundError(), "here"]
    with pytest.raises(FileNotFoundError):
        stores.patient(ask, "a.jpg")
    answers = [OSError("busy")] * 3
    with pytest.raises(OSError, match="busy"):
        stores.patient(ask, "a.jpg")


def test_bad_manifests_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("file,size\nx.jpg,3\n")
    with pytest.raises(SetupError, match=r"a\.csv has no column 'path', but file, size"):
        list(expand(str(tmp_path / "a.csv")))
    (tmp_path / "b.parquet").write_bytes(b"none")
    with pytest.raises(SetupError, match=r"cannot read the manifest .*b\.parquet: "):
        list(expand(str(tmp_path / "b.parquet")))
    (tmp_path / "c.txt").touch()
    with pytest.raises(SetupError, match=r"no picture at .*c\.txt"):
        list(expand(str(tmp_path / "c.txt")))
    for source, message in (
        (tmp_path / "a.csv", "no column 'path'"),
        (tmp_path / "b.parquet", "cannot read the manifest"),
        ("s3://bucket/list.parquet", "is a manifest in a bucket: copy it"),
        ("s4://bucket/", "cannot open s4://bucket"),
        (f"{tmp_path}/[z-a]", "is no glob"),
    ):
        with pytest.raises(SetupError, match=message):
            check([str(source)])
    with pytest.raises(SetupError, match="no file or folder"):
        check([str(tmp_path), str(tmp_path / "typo")])


def test_each_picture_is_listed_once_and_not_when_it_is_done(top: Path) -> None:
    whole = list(Listing([str(top), str(top / "b"), str(top / "**/*.tiff")], Keys()))
    assert len(whole) == 4
    done = Keys()
    done.update(entry.key for entry in whole[:1])
    listing = Listing([str(top)], done, limit=3)
    assert list(listing) == whole[1:3]
    assert (listing.listed, listing.skipped, listing.complete) == (3, 1, True)
    (top / "a.jpg").write_bytes(b"changed")
    assert len(list(Listing([str(top)], done))) == 4, "a changed file is another picture"


def test_a_sample_is_always_the_same_share(tmp_path: Path) -> None:
    for number in range(400):
        (tmp_path / f"{number}.jpg").touch()
    first = list(Listing([str(tmp_path)], Keys(), sample=0.25))
    assert list(Listing([str(tmp_path)], Keys(), sample=0.25)) == first and 60 < len(first) < 140
    assert set(first) < set(Listing([str(tmp_path)], Keys(), sample=0.5))


def test_names_of_any_bytes_have_a_path_that_can_be_shown_and_read() -> None:
    entry = Entry(os.fsdecode(b"/a/\xff\xc3\xa9.jpg"), 1, 2)
    assert entry.shown == "/a/\\xffé.jpg" and os.fsencode(entry.path) == b"/a/\xff\xc3\xa9.jpg"
    assert len(entry.key) == 16 and entry.key == entry._replace(path=entry.shown).key != entry._replace(mtime=3).key


@given(st.integers(0, 3000), st.integers(1, 400), st.integers(1, 8))
def test_batches_hold_everything_and_shrink_towards_the_end(count: int, size: int, hands: int) -> None:
    entries = [Entry(str(number)) for number in range(count)]
    made = list(batches(entries, size, hands))
    assert [entry for batch in made for entry in batch] == entries
    lengths = [len(batch) for batch in made]
    assert all(0 < length <= size for length in lengths) and lengths == sorted(lengths, reverse=True)
    assert not lengths or lengths[-1] <= max(SMALLEST, count // (2 * hands))


def test_a_bucket_is_listed_read_and_matched(tmp_path: Path) -> None:
    import fsspec

    bucket = fsspec.filesystem("memory")
    for name in ("/pets/a.jpg", "/pets/deep/b 100%.png", "/pets/deep/notes.txt", "/pets/.hidden.jpg"):
        bucket.pipe(name, name.encode())
    url = "fsspec+memory://pets"
    found = {entry.path: entry for entry in expand(url)}
    assert found.keys() == {f"{url}/a.jpg", f"{url}/deep/b 100%.png"}
    entry = found[f"{url}/deep/b 100%.png"]
    assert stores.read(entry) == b"/pets/deep/b 100%.png" and entry.size == 21
    for size in (None, 3, 90):
        assert len(stores.read(entry._replace(size=size))) == 21, "whatever a manifest says"
    assert [each.path for each in expand(f"{url}/**/b*.png")] == [entry.path]
    assert [each.path for each in expand(f"{url}/*.jpg")] == [f"{url}/a.jpg"]
    assert [each.path for each in expand(f"{url}/[!a]*")] == [entry.path], "and what is below a folder that fits"
    assert list(expand(f"{url}/a.jpg")) == [found[f"{url}/a.jpg"]]
    with pytest.raises(stores.Unreadable):
        stores.read(Entry(f"{url}/gone.jpg"))
    (tmp_path / "list.txt").write_text(f"{url}/a.jpg\n{url}/gone.jpg\n")
    assert Counter(each.size for each in expand(str(tmp_path / "list.txt"))) == {11: 1, None: 1}

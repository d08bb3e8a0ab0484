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

    from detserve.bulk import stores

    bucket = fsspec.filesystem("memory")
    for name in ("/pets/a.jpg", "/pets/deep/b 100%.png", "/pets/deep/notes.txt", "/pets/.hidden.jpg"):
        bucket.pipe(name, name.encode())
    url = "fsspec+memory://pets"
    found = {entry.path: entry for entry in expand(url)}
    assert found.keys() == {f"{url}/a.jpg", f"{url}/deep/b 100%.png"}
    entry = found[f"{url}/deep/b 100%.png"]
    assert stores.read(entry) == b"/pets/deep/b 100%.png" and entry.size == 21
    assert [each.path for each in expand(f"{url}/**/b*.png")] == [entry.path]
    assert [each.path for each in expand(f"{url}/*.jpg")] == [f"{url}/a.jpg"]
    assert list(expand(f"{url}/a.jpg")) == [found[f"{url}/a.jpg"]]
    with pytest.raises(stores.Unreadable):
        stores.read(Entry(f"{url}/gone.jpg"))
    (tmp_path / "list.txt").write_text(f"{url}/a.jpg\n{url}/gone.jpg\n")
    assert Counter(each.size for each in expand(str(tmp_path / "list.txt"))) == {11: 1, None: 1}

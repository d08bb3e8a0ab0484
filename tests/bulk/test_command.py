"""The command, with a real archive in two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from detserve.archives.checksums import sha256_of
from detserve.archives.recipe import Recipe
from detserve.bulk.command import main
from detserve.engines.base import Device
from detserve.options import Options
from detserve.worker.loading import load_pipeline
from detserve.worker.response import content
from tests.bulk.conftest import DEADLY, ROOT, Bulk, with_code
from tests.pictures.encoded import png

Album = Callable[[int], Path]


def expected(archive: Path, folder: Path, pictures: list[Path]) -> list[object]:
    """What the archive's pipeline answers to each picture."""
    with zipfile.ZipFile(archive) as mar:
        mar.extractall(folder)
    recipe = Recipe.of_archive(yaml.safe_load((folder / "fd1.yaml").read_bytes()))
    pipeline = load_pipeline(recipe, folder, Device())
    options = Options.parse({}, pipeline.spec, recipe.options)
    return [content(result) for picture in pictures for result in pipeline([(picture.read_bytes(), options)])]


def told(row: dict[str, object]) -> object:
    """The answer that a row holds."""
    if row["status"] == "error":
        return row["error_type"], row["error_message"]
    return [{k: v for k, v in found.items() if v is not None} for found in row["detections"]]


def test_each_picture_has_the_row_that_the_pipeline_answers_and_a_second_run_finds_nothing_to_do(
    bulk: Bulk, album: Album, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = album(40)
    pictures = sorted(top.rglob("*.jpg"))
    assert bulk(top, "--errors-to", tmp_path / "errors.jsonl") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("40 pictures, 20 faces\n10 errors: bad_picture 10\n")
    assert " pictures a second" in printed.out and "40/40" in printed.err
    rows = bulk.rows()
    assert [row["path"] for row in rows] == [str(path) for path in pictures]
    wanted = [
        each if isinstance(each, list) else (each["type"], each["message"])
        for each in expected(bulk.archive, tmp_path / "unpacked", pictures)
    ]
    assert [told(row) for row in rows] == wanted
    face = rows[0]
    assert (face["model"], face["version"], face["archive_sha256"]) == ("fd1", "1.0", sha256_of(bulk.archive))
    assert (face["width"], face["height"], face["size"]) == (256, 256, pictures[0].stat().st_size)
    assert face["mtime"].timestamp() == pytest.approx(pictures[0].stat().st_mtime, abs=1e-5)
    assert all(face["ms"][stage] > 0 for stage in ("read", "decode", "infer", "post"))
    errors = [json.loads(line) for line in (tmp_path / "errors.jsonl").read_text().splitlines()]
    assert sorted(error["path"] for error in errors) == [str(path) for path in pictures[3::4]]
    assert bulk.left_over() == []

    assert bulk(top, "--errors-to", tmp_path / "again.jsonl") == 0
    assert capsys.readouterr().out == "0 pictures, 0 faces; 40 were done before\n"
    assert bulk.rows() == rows
    assert len((tmp_path / "again.jsonl").read_text().splitlines()) == 10, "those that failed before are told as well"


def test_what_cannot_be_looked_at_is_a_row(bulk: Bulk, faces: list[Path], tmp_path: Path) -> None:

    top = tmp_path / "odd"
    (top / "deep").mkdir(parents=True)
    (top / "face.jpg").write_bytes(faces[0].read_bytes())
    (top / "empty.jpg").touch()
    (top / "text.jpg").write_text("no picture")
    (top / "bomb.png").write_bytes(png(8, 2, [b""], 40_000, height=40_000))
    (top / "gone.jpg").symlink_to(top / "nowhere.jpg")
    (top / "itself.jpg").symlink_to(top / "itself.jpg")
    (top / "deep" / "circle").symlink_to(top)
    with (top / "huge.jpg").open("wb") as file:
        file.truncate(1 << 30)
    os.mkfifo(top / "pipe.jpg")
    odd = os.fsdecode(os.fsencode(top) + b"/\xff.jpg")
    os.link(faces[0], odd)
    assert bulk(top, "--format", "parquet") == 0
    kinds = {Path(row["path"]).name: row["error_type"] for row in bulk.rows()}
    assert kinds == {
        "face.jpg": None,
        "empty.jpg": "bad_picture",
        "text.jpg": "bad_picture",
        "bomb.png": "picture_too_large",
        "gone.jpg": "unreadable",
        "itself.jpg": "unreadable",
        "huge.jpg": "unreadable",
        "\\xff.jpg": None,
    }


def test_a_picture_that_kills_its_process_has_a_row_and_the_others_have_theirs(
    deadly: Path, faces: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bulk = Bulk(deadly, tmp_path / "rows")
    top = tmp_path / "album"
    top.mkdir()
    for number in range(24):
        end = DEADLY if number in (5, 6, 20) else b""
        (top / f"{number:02}.jpg").write_bytes(faces[0].read_bytes() + end)
    assert bulk(top, "--shard", "12") == 0
    rows = bulk.rows()
    assert len(rows) == 24
    dead = [Path(row["path"]).stem for row in rows if row["error_type"] == "process_died"]
    assert dead == ["05", "06", "20"]
    assert sum(len(row["detections"] or ()) for row in rows) == 21
    assert "3 errors: process_died 3" in capsys.readouterr().out


@pytest.mark.slow
def test_another_version_writes_its_own_rows_as_json_lines(bulk: Bulk, deadly: Path, album: Album) -> None:
    top = album(6)
    assert bulk(top) == 0
    newer = Bulk(deadly, bulk.out)
    assert newer(top, "--format", "jsonl") == 0
    lines = [json.loads(line) for path in bulk.out.glob("*.jsonl") for line in path.read_text("utf-8").splitlines()]
    assert {row["version"] for row in lines} == {"2.0"} and len(lines) == 6
    old = {row["path"]: row for row in bulk.rows()}
    for line in lines:
        row = old[line["path"]]
        assert told(line) == told(row) and line["mtime"] == row["mtime"].isoformat() and line.keys() == row.keys()
    assert newer(top) == 0 and len(bulk.rows()) == 6, "rows of either format say what is done"


@pytest.mark.parametrize("end", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_it_ends_within_seconds_and_goes_on_where_it_ended(
    bulk: Bulk, album: Album, end: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    top = album(4000)
    failed = bulk.out.parent / "failed.jsonl"
    process = bulk.start(top, "--shard", "100", "--errors-to", failed, start_new_session=True)
    while len(list(bulk.out.glob("part-*"))) < 3:
        time.sleep(0.05)
    time.sleep(0.2)  # into the next shards: the processes have come to the end of theirs at about the same time
    start = time.monotonic()
    os.killpg(process.pid, end)
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - start < 8
    assert process.returncode == 1 and err.endswith("bulk: interrupted; the same command goes on from here\n"), err
    before = bulk.rows()
    assert out.startswith(f"{len(before):,} pictures, "), out
    assert 100 < len(before) < 4000
    assert min(bulk.sizes()) < 100, "what was begun is written as well"
    assert bulk.left_over() == []
    assert len(failed.read_text().splitlines()) == sum(row["status"] == "error" for row in before) > 0
    assert bulk(top, "--limit", len(before) + 20) == 0
    assert len({row["path"] for row in bulk.rows()}) == len(bulk.rows()) >= len(before)
    assert " were done before" in capsys.readouterr().out


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_can_be_gone_on_from(
    fd1: Path, album: Album, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        bulk = Bulk(fd1, disk / "rows")
        top = album(400)
        assert bulk(top, "--shard", "20") == 1
        told = capsys.readouterr().err.splitlines()[-1]
        assert told == f"bulk: cannot write to {bulk.out}: No space left on device"
        before = len(bulk.rows())
        assert 0 < before < 400
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        assert bulk(top) == 0
        assert len({row["path"] for row in bulk.rows()}) == len(bulk.rows()) == 400
        assert bulk.left_over() == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("nowhere",), "no file or folder nowhere"),
        (("nothing/*.jpg",), "no picture at nothing/*.jpg"),
        (("s4://bucket/",), "cannot open s4://bucket"),
        ((ROOT, "--errors-to", "nowhere/failed.jsonl"), "--errors-to nowhere/failed.jsonl: its folder is not there"),
    ],
)
def test_what_is_not_there_is_said(
    bulk: Bulk, given: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulk(*given) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_an_archive_that_cannot_be_loaded_and_one_that_is_not_told_from_a_model(
    album: Album, fd1: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = with_code(fd1, tmp_path, "worker/loading.py", "def load_pipeline", "raise ValueError('of another age')\n")
    assert Bulk(broken, tmp_path / "rows")(album(1)) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "bulk: fd1 cannot be loaded: of another age"
    with pytest.raises(SystemExit):
        Bulk(fd1, tmp_path / "rows")("x.jpg", "--model", "td1")
    assert "--archive: not allowed with argument --model" in capsys.readouterr().err


def test_a_source_with_a_fault_ends_at_the_end_with_all_others_done(
    bulk: Bulk, faces: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.csv").write_text(f"path,size,mtime\n{faces[0]},3,1700000000123456789\n")
    assert bulk(tmp_path / "list.csv", faces[0], faces[3]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("2 pictures, ")
    fault = (
        f"row 1 of the manifest {tmp_path}/list.csv: mtime 1700000000123456789 is no date in microseconds since 1970"
    )
    assert printed.err.splitlines()[-1] == f"bulk: {fault}"
    assert bulk(faces[0], faces[3], "--again", "bad_picture") == 0
    assert capsys.readouterr().out.startswith("1 pictures, 0 faces; 1 were done before\n1 errors: bad_picture 1\n")
    assert len(bulk.rows()) == 2


def test_a_missing_archive_and_a_folder_that_cannot_be_written_are_said(
    album: Album, fd1: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = album(1)
    assert Bulk(tmp_path / "fd9.mar", tmp_path / "rows")(top) == 1
    assert f"bulk: no {tmp_path}/fd9.mar: " in capsys.readouterr().err
    arguments = [str(top), "--archive", str(fd1), "--out", "s3://bucket/rows"]
    assert main(arguments) == 1
    assert "bulk: --out s3://bucket/rows: shards are moved into place" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert Bulk(fd1, tmp_path / "file")(top) == 1
    assert f"bulk: cannot write to {tmp_path}/file: File exists" in capsys.readouterr().err

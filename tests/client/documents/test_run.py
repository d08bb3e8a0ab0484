"""Documents from files to results: order, memory, failures, interruption; and the command around it."""

from __future__ import annotations

import json
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pikepdf
import pytest

from detserve.client import command as client
from detserve.client.answer import Answer, Failure
from detserve.client.command import results
from detserve.client.documents import FORMATS, job
from detserve.client.documents.job import SUFFIXES, Wanted
from detserve.client.documents.run import AHEAD, run
from detserve.pictures.decode import decode
from tests.client.documents import made
from tests.client.documents.made import said
from tests.client.test_transport import http_server

Ask = Callable[[bytes], Answer]


def brightness(data: bytes) -> int:
    return round(float(decode(data).rgb.mean()))


def ask(data: bytes) -> Answer:
    """Says how bright a picture is, the sooner the brighter it is: later pages are answered first."""
    grey = brightness(data)
    time.sleep(max(0, (60 - grey) / 4000))
    return Answer([said(f"grey{grey}", 100, 100, 200)])


def read(files: list[Path], out: Path, *formats: str, ask: Ask = ask, at_once: int = 4) -> int:
    out.mkdir(exist_ok=True)
    kept = frozenset(path.resolve() for path in files)
    return run(files, results.names(files), Wanted(out, formats, 50, flatten=False, kept=kept), ask, at_once)


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_pages_and_documents_keep_their_order(tmp_path: Path) -> None:
    files = [made.tiff(tmp_path / f"{i}.tif", [(60, 80)] * count) for i, count in enumerate((5, 1, 7))]
    assert read(files, tmp_path / "out", "txt", "json") == 0
    for path, count in zip(files, (5, 1, 7), strict=True):
        text = (tmp_path / "out" / f"{path.stem}.txt").read_text()
        assert text == "\f".join(f"grey{10 * i}\n" for i in range(count))
        pages = json.loads((tmp_path / "out" / f"{path.stem}.json").read_text())["pages"]
        assert [page["page"] for page in pages] == list(range(1, count + 1))
    assert len(left(tmp_path / "out")) == 6


def test_every_format_is_written(tmp_path: Path) -> None:
    files = [made.pdf(tmp_path / "a.pdf", pages=2), made.tiff(tmp_path / "b.tif", [(60, 80)])]
    assert read(files, tmp_path / "out", *FORMATS) == 0
    assert left(tmp_path / "out") == {stem + suffix for stem in "ab" for suffix in SUFFIXES.values()}
    assert list(SUFFIXES) == list(FORMATS)


@pytest.mark.parametrize("at_once", [1, 4])
def test_pages_wait_neither_for_each_other_nor_all_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Several are asked for at once; those rendered and not yet written are never more than AHEAD for each."""
    waiting = rendered = most_waiting = most_ahead = 0
    lock, written = threading.Lock(), []
    whole = job.Job.pages

    def pages(self: job.Job, opened: object) -> object:
        nonlocal rendered, most_ahead
        for page in whole(self, opened):  # type: ignore[arg-type]
            rendered += 1
            most_ahead = max(most_ahead, rendered - len(written))
            yield page

    def slowly(data: bytes) -> Answer:
        nonlocal waiting, most_waiting
        with lock:
            waiting += 1
            most_waiting = max(most_waiting, waiting)
        time.sleep(0.01)
        with lock:
            waiting -= 1
        return Answer([])

    monkeypatch.setattr(job.Job, "pages", pages)
    monkeypatch.setattr(job.Job, "add", lambda self, answered: written.append(answered.page.number))
    assert read([made.pdf(tmp_path / "x.pdf", pages=40)], tmp_path / "out", "pdf", ask=slowly, at_once=at_once) == 0
    assert written == list(range(1, 41))
    assert most_waiting == at_once
    assert at_once < most_ahead <= AHEAD * at_once


def test_one_bad_document_is_named_and_the_others_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, later = (made.tiff(tmp_path / f"{name}.tif", [(60, 80)] * 3) for name in ("a", "z"))
    bad = tmp_path / "bad.pdf"
    bad.write_bytes(b"%PDF-1.4 and no more")
    empty = tmp_path / "empty.pdf"
    empty.touch()
    assert read([good, bad, empty, later], tmp_path / "out", "txt", "pdf") == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == [str(bad), str(empty)]
    assert left(tmp_path / "out") == {"a.txt", "a.pdf", "z.txt", "z.pdf"}


def test_a_page_that_fails_takes_its_document_with_it_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def choosy(data: bytes) -> Answer:
        asked.append(data)
        if 18 <= brightness(data) <= 22:
            raise Failure("503", "the queue is full")
        return ask(data)

    long, short = made.tiff(tmp_path / "long.tif", [(60, 80)] * 25), made.tiff(tmp_path / "short.tif", [(60, 80)] * 2)
    assert read([long, short], tmp_path / "out", "md", ask=choosy) == 1
    assert capsys.readouterr().err == f"client: {long}: page 3: 503: the queue is full\n"
    assert left(tmp_path / "out") == {"short.md"}
    assert len(asked) <= 3 + 4 * AHEAD + 2, "pages of a document that failed are sent on"


def test_a_broken_page_in_the_middle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made.tiff(tmp_path / "x.tif", [(60, 80)] * 4, compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    end = len(data) * 5 // 8
    data[end : end + 200] = bytes(200)
    path.write_bytes(data)
    assert read([path], tmp_path / "out", "txt") == 1
    assert "cannot be read: it is broken" in capsys.readouterr().err
    assert left(tmp_path / "out") == set()


def test_a_model_that_does_not_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    face = Answer([{"xywh_ratio": [0.5, 0.5, 1, 1], "conf": 1}])
    path = made.tiff(tmp_path / "x.tif", [(60, 80)])
    assert read([path], tmp_path / "out", "hocr", ask=lambda _: face) == 1
    assert "a model that reads is needed" in capsys.readouterr().err
    assert read([path], tmp_path / "out", "json", ask=lambda _: face) == 0


@pytest.mark.parametrize("formats", [("pdf",), FORMATS], ids=["pdf", "all"])
def test_an_interruption_leaves_no_pieces(
    tmp_path: Path, formats: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from detserve.client.documents import pdf as writing

    monkeypatch.setattr(writing, "CHUNK", 2)
    files = [made.tiff(tmp_path / f"{i}.tif", [(60, 80)] * 14) for i in range(2)]

    def interrupted(data: bytes) -> Answer:
        if brightness(data) > 115:
            assert any(".part" in name for name in left(tmp_path / "out")), "a draft was there"
            raise KeyboardInterrupt
        return ask(data)

    with pytest.raises(KeyboardInterrupt):
        read(files, tmp_path / "out", *formats, ask=interrupted)
    assert left(tmp_path / "out") == set()


def test_a_result_takes_the_place_of_an_old_one_only_when_it_is_whole(tmp_path: Path) -> None:
    out, path = tmp_path / "out", made.tiff(tmp_path / "x.tif", [(60, 80)])
    out.mkdir()
    (out / "x.txt").write_text("old")

    def fails(_: bytes) -> Answer:
        assert (out / "x.txt").read_text() == "old"
        raise Failure("500", "m")

    assert read([path], out, "txt", ask=fails) == 1
    assert (out / "x.txt").read_text() == "old"
    assert read([path], out, "txt") == 0
    assert (out / "x.txt").read_text() == "grey0\n"


def test_no_result_replaces_what_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made.pdf(tmp_path / "x.pdf")
    before = path.read_bytes()
    assert read([path], tmp_path, "txt", "pdf") == 1
    assert "would replace" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert left(tmp_path) == {"x.pdf"}


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """Files of no more than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("pages", [1, 60], ids=["at the end", "in the middle"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_full_disk_is_told_and_the_other_documents_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: str, pages: int
) -> None:
    from detserve.client.documents import pdf as writing

    monkeypatch.setattr(writing, "CHUNK", 2)
    long, short = made.tiff(tmp_path / "x.tif", [(60, 80)] * pages), made.tiff(tmp_path / "y.tif", [(61, 80)])

    def wordy(data: bytes) -> Answer:
        count = 1000 if decode(data).size == (60, 80) else 1
        return Answer([said("word " * count, 100, 100, 800)])

    out = tmp_path / "out"
    assert read([short], out, kind, ask=wordy) == 0
    whole = (out / f"y{SUFFIXES[kind]}").read_bytes()
    with full_disk(len(whole) + 500):
        assert read([long, short], out, kind, ask=wordy) == 1
    assert capsys.readouterr().err == f"client: {long}: File too large\n"
    assert left(out) == {f"y{SUFFIXES[kind]}"}
    assert (out / f"y{SUFFIXES[kind]}").read_bytes() == whole


def test_a_full_disk_is_told_of_a_pdf_whose_pages_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made.pdf(tmp_path / "x.pdf", pages=20)
    with full_disk(1000):
        assert read([path], tmp_path / "out", "pdf") == 1
    assert capsys.readouterr().err == f"client: {path}: File too large\n"
    assert left(tmp_path / "out") == set()


# The command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A PDF of two pages, a TIFF of two, and a picture."""
    folder = tmp_path / "in"
    folder.mkdir()
    made.pdf(folder / "scan.PDF", pages=2)
    made.tiff(folder / "pages.tiff", [(60, 80), (80, 60)])
    cv2.imwrite(str(folder / "img.jpg"), np.zeros((60, 80, 3), np.uint8))
    return folder


@pytest.mark.parametrize(
    ("formats", "split"), [("txt,md", "lines"), ("json", None), ("txt,pdf", "words"), ("alto", "words")]
)
def test_the_command_reads_documents(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], formats: str, split: str | None
) -> None:
    splits = []

    def answer(_: int, request: object) -> tuple[int, bytes]:
        splits.append(request.headers.get("X-Split"))  # type: ignore[attr-defined]
        return 200, json.dumps([said("word", 1, 1, 10)]).encode()

    with http_server(answer) as url:
        arguments = [str(folder), "--url", url, "--out", str(tmp_path / "out"), "--format", formats, "--dpi", "50"]
        assert client.main(arguments) == 0
    assert capsys.readouterr() == ("", "")
    assert splits == [split] * 5
    names = {stem + SUFFIXES[kind] for stem in ("scan", "pages", "img") for kind in formats.split(",")}
    assert left(tmp_path / "out") == names


def test_pages_of_pdfs_have_the_resolution_asked_for_and_flattened_pdfs_a_picture(folder: Path, tmp_path: Path) -> None:
    sizes = set()

    def answer(_: int, request: object) -> tuple[int, bytes]:
        sizes.add(decode(request.body).size)  # type: ignore[attr-defined]
        return 200, b"[]"

    for more, images in ([], 0), (["--flatten"], 1):
        with http_server(answer) as url:
            arguments = [str(folder / "scan.PDF"), "--url", url, "--dpi", "100", "--out", str(tmp_path / "out")]
            assert client.main([*arguments, "--format", "pdf", *more]) == 0
        with pikepdf.open(tmp_path / "out" / "scan.pdf") as opened:
            assert [len(page.get_images()) for page in opened.pages] == [images] * 2
            assert [[float(v) for v in page.MediaBox[2:]] for page in opened.pages] == [[360, 504]] * 2
    assert sizes == {(500, 700)}


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.pdf", "--format", "pdf"],
        ["a.pdf", "--out", "x"],
        ["a.pdf", "--out", "x", "--format", "doc"],
        ["a.pdf", "--out", "x", "--format", "txt,"],
        ["a.pdf", "--out", "x", "--format", "txt", "--draw"],
        ["a.pdf", "--out", "x", "--format", "txt", "--coco", "x.json"],
        ["a.pdf", "--out", "x", "--format", "txt", "--depth", "x.png"],
        ["a.pdf", "--out", "x", "--format", "txt", "--shape", "ellipse"],
        ["a.pdf", "--out", "x", "--format", "txt", "--margin", "0"],
        ["a.pdf", "--out", "x", "--format", "txt", "--strip"],
        ["a.pdf", "--out", "x", "--format", "json,txt", "--split", "characters"],
        ["a.pdf", "--out", "x", "--format", "txt", "--dpi", "9"],
        ["a.pdf", "--out", "x", "--format", "txt", "--dpi", "nan"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        client.main(arguments)
    assert caught.value.code == 2
    assert "client.py: error: " in capsys.readouterr().err


def test_a_missing_package_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> object:
        raise ModuleNotFoundError("No module named 'pypdfium2'", name="pypdfium2")

    monkeypatch.setattr(job, "open_pages", missing)
    assert client.main([str(folder), "--format", "txt", "--out", str(tmp_path / "out")]) == 1
    wanted = "client: the package 'pypdfium2' is missing: pip install -r requirements/documents.txt\n"
    assert capsys.readouterr().err == wanted

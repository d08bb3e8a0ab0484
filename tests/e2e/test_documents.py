"""Documents through a real server: pages of known text come back from the files that are written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pikepdf
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.client.documents.made import pdftotext
from tests.harness.server import Server

ROOT = Path(__file__).parents[2]
TEXT = """Whoever searches an archive of ten thousand pages wants to find Maastricht, 1749, or the invoice number
20-4417 without turning any of them. A scanner gives pictures only. Recognition turns them into text, and the text lies
unseen over the picture, so that it can be marked, copied and found; quickly, by anyone, from Kyiv to Oxford."""
A4 = (1654, 2339)
"""Pixels at 200 dpi."""


def page(number: int, rows: int = 24) -> tuple[Image.Image, str]:
    """A picture of a page of A4 at 200 dpi, letters of 12 points, and its text."""
    font = ImageFont.load_default(33)
    picture = Image.new("RGB", A4, "white")
    pen = ImageDraw.Draw(picture)
    words = (TEXT.split() * rows)[7 * number :]
    lines = []
    for row in range(rows):
        line: list[str] = []
        while pen.textlength(" ".join([*line, words[0]]), font) < A4[0] - 300:
            line.append(words.pop(0))
        # A wider distance after each sixth line, and a large one in the middle.
        pen.text((150, 150 + 62 * row + 40 * (row // 6)), " ".join(line), "black", font)
        lines.append(" ".join(line))
    return picture, "\n".join(lines)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with scan.pdf and pages.tiff of two pages, img.png of the first, and the text of both pages."""
    folder = tmp_path_factory.mktemp("papers")
    pictures, texts = zip(*(page(number) for number in range(2)), strict=True)
    options = {"save_all": True, "append_images": pictures[1:]}
    pictures[0].save(folder / "pages.tiff", **options, compression="tiff_lzw", dpi=(200, 200))
    pictures[0].save(folder / "img.png", dpi=(200, 200))
    pictures[0].save(folder / "scan.pdf", **options, resolution=200)
    return folder, list(texts)


def run(server: Server, *arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "client.py", *arguments, "--model", "ocr1", "--url", server.url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == status, ended
    return ended


def share(text: str, wanted: str) -> float:
    """The share of the words that are wanted which a text has."""
    words = Counter(wanted.split())
    return (words & Counter(text.split())).total() / words.total()


@pytest.mark.slow
def test_a_searchable_pdf_gives_the_words_back(server: Server, papers: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, texts = papers
    assert run(server, folder / "scan.pdf", folder / "pages.tiff", "--format", "pdf", "--out", tmp_path).stderr == ""
    for name in ("scan", "pages"):
        found = pdftotext(tmp_path / f"{name}.pdf")
        assert len(found) == 2
        for number, (text, wanted) in enumerate(zip(found, texts, strict=True), 1):
            print(f"{name}.pdf, page {number}: {share(text, wanted):.4f} of {len(wanted.split())} words")
            assert share(text, wanted) >= 0.98
            # In reading order too: lines as they stand, one below the other.
            read = [line for line in text.splitlines() if line]
            assert sum(a == b for a, b in zip(read, wanted.splitlines(), strict=False)) >= 22
        with pikepdf.open(tmp_path / f"{name}.pdf") as opened:
            assert [float(v) for v in opened.pages[0].MediaBox[2:]] == pytest.approx((595.44, 842.04), abs=0.1)


@pytest.mark.slow
def test_text_markdown_hocr_and_alto_of_a_picture(
    server: Server, papers: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, (wanted, _) = papers
    run(server, folder / "img.png", "--format", "txt,md,hocr,alto,json", "--out", tmp_path)
    assert share((tmp_path / "img.txt").read_text(), wanted) >= 0.98
    paragraphs = (tmp_path / "img.md").read_text().split("\n\n")
    assert len(paragraphs) == 4
    assert share(" ".join(paragraphs), wanted) >= 0.98
    (answer,) = json.loads((tmp_path / "img.json").read_text())["pages"]
    words = [each["text"] for each in answer["answer"]]
    assert share(" ".join(words), wanted) >= 0.98
    for name in ("img.hocr", "img.alto.xml"):
        text = (tmp_path / name).read_text()
        assert sum(f">{word}<" in text or f'CONTENT="{word}"' in text for word in words) == len(words)


def test_what_cannot_be_read_is_named_and_the_rest_is_written(server: Server, tmp_path: Path) -> None:
    small, font = Image.new("RGB", (500, 100), "white"), ImageFont.load_default(40)
    ImageDraw.Draw(small).text((20, 20), "Good morning", "black", font)
    small.save(tmp_path / "good.png")
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7 and no more")
    small.save(tmp_path / "locked.pdf")
    with pikepdf.open(tmp_path / "locked.pdf", allow_overwriting_input=True) as opened:
        opened.save(tmp_path / "locked.pdf", encryption=pikepdf.Encryption(owner="a", user="b"))
    ended = run(server, tmp_path, "--format", "txt,pdf", "--out", tmp_path / "out", status=1)
    first, second = ended.stderr.splitlines()
    assert first.startswith(f"client: {tmp_path / 'bad.pdf'}: the PDF cannot be read")
    assert second.startswith(f"client: {tmp_path / 'locked.pdf'}: the PDF is encrypted")
    assert (tmp_path / "out" / "good.txt").read_text() == "Good morning\n"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.txt", "good.pdf"}


@pytest.mark.slow
def test_ctrl_c_leaves_no_pieces(server: Server, papers: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, _ = papers
    long, out = tmp_path / "long.pdf", tmp_path / "out"
    with pikepdf.open(folder / "scan.pdf") as opened:
        for _ in range(20):
            opened.pages.append(opened.pages[0])
        opened.save(long)
    command = [sys.executable, ROOT / "client.py", long, "--model", "ocr1", "--url", server.url, "--out", out]
    process = subprocess.Popen([*command, "--format", "txt,pdf"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out.is_dir() and any(out.iterdir())):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=150)
    assert (process.returncode, said) == (1, "client: interrupted\n")
    assert list(out.iterdir()) == []

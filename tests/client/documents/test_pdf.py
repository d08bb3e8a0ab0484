"""Searchable PDFs: what pdftotext and PDFium find in them, and where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pikepdf
import pypdfium2
import pytest
from PIL import Image

from detserve.client.documents import pdf as writing
from detserve.client.documents.opening import open_pages, source
from detserve.client.documents.output import Answered, Writer
from detserve.client.documents.page import Page
from detserve.client.draft import Draft
from detserve.pictures.decode import decode
from tests.client.documents import made
from tests.client.documents.made import answered, pdftotext, rows, said, split


def finished(writer: Writer, draft: Draft, pages: Sequence[Answered]) -> Path:
    try:
        for each in pages:
            writer.add(each)
        writer.finish()
    finally:
        writer.close()
    draft.keep()
    draft.discard()
    return draft.target


def pictured(path: Path, *pages: Answered) -> Path:
    """A new PDF of pictures."""
    draft = Draft(path)
    return finished(writing.Pictured(draft), draft, pages)


def layered(path: Path, original: Path, answer: Sequence[dict]) -> Path:
    """A PDF with the same answer on each of its pages."""
    draft, opened = Draft(path), source(original)
    pages = open_pages(opened, 200, own_text=True)
    every = [Answered(pages.page(number), answer) for number in range(1, pages.count + 1)]
    pages.close()
    return finished(writing.Layered(draft, opened), draft, every)


def boxes(path: Path, word: str, page: int = 0) -> list[tuple[float, ...]]:
    """Where PDFium marks a word on the page as it is shown: x0, y0, x1, y1 in ratios, y down."""
    with pypdfium2.PdfDocument(path) as opened:
        shown = opened[page]
        texts = shown.get_textpage()
        found = texts.search(word).get_next()
        assert found, f"{word} is not in {texts.get_text_range()!r}"
        rectangles = [texts.get_rect(i) for i in range(texts.count_rects(*found))]
        return [tuple(round(v, 1) for v in each) for each in rectangles]


def test_lines_come_back_in_their_order(tmp_path: Path) -> None:
    texts = ["The first line", "and one of 20-4417 signs;", "a b c", "illicit minimum"]
    words = [word for line in rows(*texts) for word in split(line)]
    path = pictured(tmp_path / "x.pdf", answered(words), answered([], 2), answered(rows("last"), 3))
    assert [page.strip().split("\n") for page in pdftotext(path)] == [texts, [""], ["last"]]
    assert [page.split() for page in pdftotext(path, "-raw")] == [" ".join(texts).split(), [], ["last"]]


@pytest.mark.parametrize(
    "text",
    [
        "Straße naïve", "Здравствуй мир", "γειά σου", "漢字とかな", "नमस्ते दुनिया", "ไทย", "שלום עולם", "مرحبا بالعالم",
        "𝒜 😀 ok", "한국어 글",
    ],
)  # fmt: skip
def test_any_script_comes_back(tmp_path: Path, text: str) -> None:
    path = pictured(tmp_path / "x.pdf", answered([said(text, 100, 100, 22 * len(text))]))
    marks = dict.fromkeys(map(ord, "\u202a\u202b\u202c"))  # which pdftotext adds to say the direction
    assert pdftotext(path)[0].translate(marks).split() == text.split()


@pytest.mark.parametrize("turn", [0, 90, 180, 270, 3, -8, 20, 45])
def test_turned_lines_come_back_word_by_word(tmp_path: Path, turn: int) -> None:
    text = "turned lines come back"
    path = pictured(tmp_path / "x.pdf", answered([said(text, 500, 700, 440, turn=turn)]))
    if turn != 45:  # pdftotext makes no words of such
        assert " ".join(pdftotext(path, "-raw")[0].split()) == text
    with pypdfium2.PdfDocument(path) as opened:
        found = opened[0].get_textpage().get_text_range().split()
        assert sorted(found) == sorted(text.split())


def test_words_that_touch_are_two(tmp_path: Path) -> None:
    found = [said("touch", 100, 100, 100), said("ing", 200, 100, 60), said("over", 250, 100, 80)]
    assert pdftotext(pictured(tmp_path / "x.pdf", answered(found)))[0].split() == ["touch", "ing", "over"]


def test_a_word_is_marked_where_it_stands(tmp_path: Path) -> None:
    found = [said("level", 100, 200, 300, 50), said("down", 800, 300, 200, 40, turn=90)]
    path = pictured(tmp_path / "x.pdf", answered(found))
    # 360 by 504 points, y up.
    (level,) = boxes(path, "level")
    assert level == pytest.approx((36, 504 - 90, 144, 504 - 72), abs=3)
    (down,) = boxes(path, "down")
    assert down == pytest.approx((288 - 14.4, 504 - 180, 288, 504 - 108), abs=3)


def test_nothing_of_the_text_is_seen(tmp_path: Path) -> None:
    path = pictured(tmp_path / "x.pdf", answered(rows("invisible", "text")))
    with pypdfium2.PdfDocument(path) as opened:
        assert opened[0].render().to_numpy().min() == 255


def test_pages_have_the_size_of_their_pictures_in_points(tmp_path: Path) -> None:
    pages = [Page(1, made.picture(), made.SIZE, (200, 200)), Page(2, made.picture(), made.SIZE, (100, 50))]
    huge = Page(3, made.picture(), made.SIZE, (2, 2))
    path = pictured(tmp_path / "x.pdf", *(Answered(page, rows("size")) for page in (*pages, huge)))
    with pikepdf.open(path) as opened:
        sizes = [[float(v) for v in page.MediaBox[2:]] for page in opened.pages]
    assert sizes[:2] == [[360, 504], [720, 2016]]
    assert sizes[2] == pytest.approx([14_400 * 1000 / 1400, 14_400])
    assert len(boxes(path, "size", page=2)) == 1


def test_many_pages_go_through_parts_and_none_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "CHUNK", 3)
    path = pictured(tmp_path / "x.pdf", *(answered(rows(f"page {i}"), i) for i in range(1, 9)))
    assert [page.split() for page in pdftotext(path)] == [["page", str(i)] for i in range(1, 9)]
    assert [each.name for each in tmp_path.iterdir()] == ["x.pdf"]


def image_of(path: Path) -> pikepdf.Object:
    with pikepdf.open(path) as opened:
        (image,) = opened.pages[0].get_images().values()
        pixels = np.asarray(pikepdf.PdfImage(image).as_pil_image().convert("RGB"))
        return str(image.get("/Filter")), int(image.BitsPerComponent), image.read_raw_bytes(), pixels


def test_an_upright_jpeg_lies_in_the_pdf_as_it_is(tmp_path: Path) -> None:
    for name, pixels in (("rgb", np.full((140, 100, 3), 90, np.uint8)), ("grey", np.full((140, 100), 90, np.uint8))):
        data = cv2.imencode(".jpg", pixels)[1].tobytes()
        path = pictured(tmp_path / f"{name}.pdf", Answered(Page(1, data, (100, 140), (200, 200)), []))
        assert image_of(path)[:3] == ("/DCTDecode", 8, data)


def test_black_and_white_stays_without_loss(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((140, 101)) < 0.5
    file = tmp_path / "x.png"
    Image.fromarray(noise).save(file)
    path = pictured(tmp_path / "x.pdf", Answered(Page(1, file.read_bytes(), (101, 140), (200, 200)), []))
    filter_, bits, _, pixels = image_of(path)
    assert (filter_, bits) == ("/FlateDecode", 1)
    assert (pixels[..., 0] == 255 * noise).all()


def test_a_jpeg_that_lies_on_its_side_stands_in_the_pdf(tmp_path: Path) -> None:
    pixels = np.zeros((100, 140, 3), np.uint8)
    pixels[:, :70, 2] = 255  # red at the left: at the top once it is turned
    file, exif = tmp_path / "x.jpg", Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels[..., ::-1]).save(file, exif=exif)
    path = pictured(tmp_path / "x.pdf", Answered(Page(1, file.read_bytes(), (100, 140), (200, 200)), []))
    shown = image_of(path)[3]
    assert shown.shape == (140, 100, 3)
    assert shown[10, 50, 0] > 200 > 50 > shown[130, 50, 0]


# PDFs whose pages stay


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_text_lies_where_a_turned_and_cropped_page_shows_it(tmp_path: Path, turn: int) -> None:
    original = made.pdf(tmp_path / "o.pdf", MediaBox=[-50, 30, 310, 534], CropBox=[0, 80, 300, 480], Rotate=turn)
    with pypdfium2.PdfDocument(original) as opened:
        size = tuple(round(v * 200 / 72) for v in opened[0].get_size())
    assert size == ((833, 1111) if turn % 180 == 0 else (1111, 833))
    path = layered(tmp_path / "x.pdf", original, [said("corner", 20, 30, 200, 40, size=size)])
    ((x0, y0, x1, y1),) = boxes(path, "corner")
    along, down = sorted((20 * 0.36, 220 * 0.36)), sorted((30 * 0.36, 70 * 0.36))
    wanted = {
        0: (along[0], 480 - down[1], along[1], 480 - down[0]),
        90: (down[0], 80 + along[0], down[1], 80 + along[1]),
        180: (300 - along[1], 80 + down[0], 300 - along[0], 80 + down[1]),
        270: (300 - down[1], 480 - along[1], 300 - down[0], 480 - along[0]),
    }[turn]
    assert (x0, y0, x1, y1) == pytest.approx(wanted, abs=2)
    assert pdftotext(path)[0].split() == ["corner"]


def test_pages_stay_as_they_are(tmp_path: Path) -> None:
    original = made.pdf(tmp_path / "o.pdf", pages=2, text="its own")
    path = layered(tmp_path / "x.pdf", original, [said("scanned words", 100, 1000, 300)])
    with pypdfium2.PdfDocument(original) as before, pypdfium2.PdfDocument(path) as after:
        assert len(after) == 2
        for i in range(2):
            assert after[i].get_size() == before[i].get_size()
            assert (after[i].render().to_numpy() == before[i].render().to_numpy()).all()
    assert sorted(pdftotext(path)[1].split()) == ["its", "own", "scanned", "words"]


def test_what_a_page_has_as_text_is_not_there_twice(tmp_path: Path) -> None:
    original = made.pdf(tmp_path / "o.pdf", text="its own")
    with pypdfium2.PdfDocument(original) as opened:
        texts = opened[0].get_textpage()
        assert texts.count_rects() == 1
        left, _, right, top = texts.get_rect(0)
    scale = 200 / 72
    around = said("its own", scale * left - 10, scale * (504 - top) - 14, scale * (right - left) + 20, 60)
    found = [*split(around), said("more", 100, 1000, 100)]
    path = layered(tmp_path / "x.pdf", original, found)
    assert pdftotext(path)[0].split() == ["its", "own", "more"]


def test_a_page_without_words_stays_untouched(tmp_path: Path) -> None:
    original = made.pdf(tmp_path / "o.pdf", text="its own")
    path = layered(tmp_path / "x.pdf", original, [])
    assert pdftotext(path)[0].split() == ["its", "own"]


def test_a_pdf_that_forbids_changes_still_does(tmp_path: Path) -> None:
    original = made.pdf(tmp_path / "o.pdf")
    locked = tmp_path / "locked.pdf"
    with pikepdf.open(original) as opened:
        allow = pikepdf.Permissions(modify_other=False)
        opened.save(locked, encryption=pikepdf.Encryption(owner="secret", user="", allow=allow))
    path = layered(tmp_path / "x.pdf", locked, rows("added"))
    with pikepdf.open(path) as opened:
        assert opened.is_encrypted
        assert not opened.allow.modify_other
    assert pdftotext(path)[0].split() == ["added"]


def test_pictures_of_pages_look_like_them(tmp_path: Path) -> None:
    original = made.pdf(tmp_path / "o.pdf", text="its own", Rotate=90)
    pages = open_pages(source(original), 100, own_text=False)
    rendered = pages.page(1)
    pages.close()
    path = pictured(tmp_path / "x.pdf", Answered(rendered, [said("its own", 20, 20, 100, size=rendered.size)]))
    with pypdfium2.PdfDocument(path) as opened:
        assert opened[0].get_size() == pytest.approx((504, 360), abs=0.01)
        shown = opened[0].render(scale=100 / 72).to_numpy().astype(int)
    wanted = decode(rendered.data).rgb.astype(int)
    assert abs(shown - wanted).mean() < 2
    assert pdftotext(path)[0].split() == ["its", "own"]

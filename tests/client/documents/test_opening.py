"""Opening PDFs, TIFFs and pictures, good and bad."""

from __future__ import annotations

import re
from pathlib import Path

import pikepdf
import pytest
from PIL import Image

from detserve.client.documents import frames
from detserve.client.documents.opening import open_pages, source
from detserve.client.documents.page import DocumentError, Page
from detserve.pictures.decode import decode
from tests.client.documents import made


def pages(path: Path, dpi: float = 200) -> list[Page]:
    opened = open_pages(source(path), dpi, own_text=True)
    try:
        return [opened.page(number) for number in range(1, opened.count + 1)]
    finally:
        opened.close()


def test_pages_of_a_pdf_are_rendered_at_the_resolution_asked_for(tmp_path: Path) -> None:
    path = made.pdf(tmp_path / "x", pages=2, text="own words")
    for dpi in (72, 200):
        first, second = pages(path, dpi)
        assert (first.number, second.number) == (1, 2)
        assert first.size == decode(first.data).size == (5 * dpi, 7 * dpi)
        assert first.points == pytest.approx((360, 504))
        ((x0, y0, x1, y1),) = first.own_text
        assert 40 * dpi / 72 == pytest.approx(x0, abs=0.03 * dpi)
        assert (504 - 350 - 20) * dpi / 72 < y0 < y1 < (504 - 340) * dpi / 72
        assert x1 < 5 * dpi


def test_a_vast_page_is_rendered_with_fewer_pixels(tmp_path: Path) -> None:
    path = made.pdf(tmp_path / "x", MediaBox=[0, 0, 14_000, 10])
    (page,) = pages(path, 1200)
    assert max(page.size) <= 65_500
    assert page.points == pytest.approx((14_000, 10))


def test_a_form_that_is_filled_in_is_seen(tmp_path: Path) -> None:
    path = made.pdf(tmp_path / "x.pdf")
    with pikepdf.open(path, allow_overwriting_input=True) as opened:
        field = pikepdf.Dictionary(
            Type=pikepdf.Name.Annot, Subtype=pikepdf.Name.Widget, FT=pikepdf.Name.Tx, T="a", V="filled", F=4,
            Rect=[50, 300, 300, 350], MK=pikepdf.Dictionary(BG=[1, 0, 0]),
        )  # fmt: skip
        appearance = opened.make_stream(b"1 0 0 rg 0 0 250 50 re f")
        appearance.Type, appearance.Subtype = pikepdf.Name.XObject, pikepdf.Name.Form
        appearance.BBox = pikepdf.Array([0, 0, 250, 50])
        field.AP = pikepdf.Dictionary(N=appearance)
        field = opened.make_indirect(field)
        opened.pages[0].Annots = opened.make_indirect(pikepdf.Array([field]))
        opened.Root.AcroForm = opened.make_indirect(pikepdf.Dictionary(Fields=[field]))
        opened.save()
    (page,) = pages(path, 72)
    assert decode(page.data).rgb[504 - 325, 175].tolist() == pytest.approx([255, 0, 0], abs=12)


def test_pages_of_a_tiff_have_sizes_and_resolutions_of_their_own(tmp_path: Path) -> None:
    sizes = [(300, 400), (400, 300), (50, 60)]
    path = made.tiff(tmp_path / "x", sizes, dpi=(150, 300))
    found = pages(path)
    assert [page.size for page in found] == [decode(page.data).size for page in found] == sizes
    assert [page.dpi for page in found] == [(150, 300)] * 3
    assert [int(decode(page.data).rgb[0, 0, 0]) for page in found] == pytest.approx([0, 10, 20], abs=2)
    assert found[0].points == (144, 96)


@pytest.mark.parametrize(
    ("mode", "start"), [("1", b"\x89PNG"), ("L", b"\xff\xd8"), ("P", b"\xff\xd8"), ("CMYK", b"\xff\xd8")]
)
def test_tiffs_of_any_kind_of_pixel_are_read(tmp_path: Path, mode: str, start: bytes) -> None:
    compression = "group4" if mode == "1" else "tiff_lzw"
    first, _ = pages(made.tiff(tmp_path / "x", [(30, 40)] * 2, mode, compression=compression))
    assert first.data.startswith(start)
    assert first.size == decode(first.data).size == (30, 40)


def test_pages_of_a_tiff_that_lie_on_their_side_are_turned(tmp_path: Path) -> None:
    path = made.tiff(tmp_path / "x", [(300, 400)] * 2, tiffinfo={274: 6}, dpi=(150, 300))
    for page in pages(path):
        assert page.size == decode(page.data).size == (400, 300)
        assert page.dpi == (300, 150)


def test_a_picture_is_a_document_of_one_page_and_sent_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    for dpi, wanted in ((300, 300), (72, 200), (0, 200)):
        Image.new("RGB", (60, 40)).save(path, exif=exif, dpi=(dpi, dpi))
        (page,) = pages(path)
        assert page.data == path.read_bytes()
        assert (page.size, page.dpi) == ((40, 60), (wanted, wanted))


def test_a_picture_of_more_bytes_than_a_server_takes_is_sent_as_a_jpeg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MOST_BYTES", 5000)
    (page,) = pages(made.tiff(tmp_path / "x", [(60, 40)], dpi=(150, 150)))
    assert page.data.startswith(b"\xff\xd8")
    assert (page.size, page.dpi) == (decode(page.data).size, (150, 150)) == ((60, 40), (150, 150))


def encrypted(path: Path) -> Path:
    made.pdf(path)
    with pikepdf.open(path, allow_overwriting_input=True) as opened:
        opened.save(path, encryption=pikepdf.Encryption(owner="owner", user="secret"))
    return path


def without_pages(path: Path) -> Path:
    with pikepdf.new() as empty:
        empty.save(path)
    return path


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


def holding(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (lambda path: holding(path, b""), "the file is empty"),
        (lambda path: holding(path, b"%PDF-1.7\nno more"), "the PDF cannot be read: it is broken"),
        (lambda path: holding(path, b"hello"), "the body is not a picture"),
        (encrypted, "the PDF is encrypted and wants a password"),
        (without_pages, "the PDF .*has no pages"),
        (lambda path: cut(made.tiff(path, [(300, 400)] * 2), 0.01), "the TIFF .*is broken or cut short"),
        (lambda path: cut(made.tiff(path, [(300, 400)] * 2), 0.6), "(page 2|the TIFF) cannot be read: it is broken"),
        (lambda path: holding(path, b"II*\0" + bytes(40)), "broken or cut short"),
        (lambda path: holding(path, made.picture()[:100]), "the JPEG picture is broken or cut short"),
    ],
    ids=["empty", "broken", "text", "encrypted", "no pages", "cut", "cut later", "zeros", "JPEG"],
)
def test_what_cannot_be_read_is_said_on_one_line(tmp_path: Path, file: object, said: str) -> None:
    assert callable(file)
    with pytest.raises(DocumentError) as caught:
        pages(file(tmp_path / "x"))
    assert re.search(said, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


def test_a_folder_or_a_file_that_is_gone_is_the_systems_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.pdf"):
        with pytest.raises(OSError, match="directory"):
            pages(path)

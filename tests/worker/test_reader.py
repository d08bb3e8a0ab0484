"""Reading lines of drawn text with the real recogniser."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from detserve import engines, models
from detserve.core.detections import Detections
from detserve.engines import sources
from detserve.engines.base import Device, EnginePlan
from detserve.models.spec import NetworkSpec
from detserve.pack.weights import locate
from detserve.worker.reader import Reader

TEXTS = ["one", "a line that is much longer than the others", "two words", "seventeen"]
HEIGHT = 40


def reader(name: str, weights: Path, folder: Path, max_batch: int) -> Reader:
    spec = models.find(name).with_file_metadata(weights)
    adapter, plan = engines.find("onnx"), EnginePlan(precision="fp32", max_batch=max_batch)
    adapter.build(sources.of(spec, weights), plan, folder)
    return Reader(adapter(folder, spec, plan, Device()))


@pytest.fixture(scope="module")
def ppocr(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    spec = models.find("ppocrv6-small-rec")
    return reader(spec.name, locate(spec.weights.origin), tmp_path_factory.mktemp("rec"), max_batch=4)


@pytest.fixture(scope="module")
def page() -> tuple[np.ndarray, Detections]:
    """The texts one below the other, and a quad round each."""
    font = ImageFont.load_default(24)
    picture = Image.new("RGB", (int(font.getlength(TEXTS[1])) + 40, HEIGHT * len(TEXTS)), "white")
    quads = []
    for i, text in enumerate(TEXTS):
        top, right = i * HEIGHT, 20 + font.getlength(text)
        ImageDraw.Draw(picture).text((10, top + 4), text, "black", font)
        quads.append([[0, top], [right, top], [right, top + HEIGHT], [0, top + HEIGHT]])
    scores = np.linspace(0.5, 0.9, len(TEXTS), dtype=np.float32)
    return np.asarray(picture), Detections.of_quads(np.array(quads, np.float32), scores)


def test_lines_keep_their_order_whatever_their_width(ppocr: Reader, page: tuple[np.ndarray, Detections]) -> None:
    rgb, found = page
    read = ppocr(rgb, found, "lines")
    assert read.texts == tuple(TEXTS)
    assert read.scores.tolist() == found.scores.tolist()


def test_lines_of_one_batch_read_as_they_do_alone(
    ppocr: Reader, page: tuple[np.ndarray, Detections], monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb, found = page
    alone = ppocr(rgb, found, "lines")
    monkeypatch.setattr(ppocr.engine, "chunk", 3)
    assert ppocr(rgb, found, "lines").texts == alone.texts


def test_a_line_on_its_head_is_read_and_its_quad_turned(ppocr: Reader, page: tuple[np.ndarray, Detections]) -> None:
    rgb, found = page
    turned = np.ascontiguousarray(rgb[::-1, ::-1])
    size = np.array(rgb.shape[1::-1], np.float32)
    assert found.quads is not None
    # What a detector answers: corners from the picture's top left, whichever way the text runs.
    quads = (size - found.quads)[:, [2, 3, 0, 1]]
    read = ppocr(turned, Detections.of_quads(quads, found.scores), "lines")
    assert read.texts == tuple(TEXTS)
    assert read.quads is not None
    assert read.quads == pytest.approx(size - found.quads)


def test_words_share_the_quad_of_their_line(ppocr: Reader, page: tuple[np.ndarray, Detections]) -> None:
    rgb, found = page
    words = ppocr(rgb, found, "words")
    assert words.texts == tuple(word for text in TEXTS for word in text.split())
    assert words.quads is not None and found.quads is not None
    line = words.quads[1:10]
    assert line[0, 0] == pytest.approx(found.quads[1, 0])
    assert line[-1, 1] == pytest.approx(found.quads[1, 1])
    assert (np.diff(line[:, 0, 0]) > 0).all()
    assert words.scores[1:10].tolist() == [found.scores[1]] * 9


def test_words_and_characters_of_a_quad_with_a_margin_lie_on_their_letters(
    ppocr: Reader, page: tuple[np.ndarray, Detections]
) -> None:
    rgb, found = page
    assert found.quads is not None
    ink = rgb.min(axis=2) < 128
    for split, wanted in (("words", " ".join(TEXTS).split()), ("characters", list("".join(TEXTS).replace(" ", "")))):
        parts = ppocr(rgb, found, split, margin=0.125)
        assert parts.texts == tuple(wanted)
        assert parts.quads is not None
        for quad in parts.quads:
            (left, top), (right, bottom) = quad.min(axis=0), quad.max(axis=0)
            assert bottom - top == pytest.approx(0.75 * HEIGHT)
            assert ink[int(top) : int(bottom), int(left) : int(right) + 1].any()
    lines = [ppocr(rgb, found[i : i + 1], "words", margin=0.125).quads for i in range(len(TEXTS))]
    for i, quads in enumerate(lines):
        assert quads is not None
        columns = np.flatnonzero(ink[i * HEIGHT : (i + 1) * HEIGHT].any(axis=0))
        assert quads[0, 0, 0] == pytest.approx(columns[0], abs=10)
        assert quads[-1, 1, 0] == pytest.approx(columns[-1], abs=10)


def test_a_word_cut_close_is_read_to_its_last_letter(ppocr: Reader, page: tuple[np.ndarray, Detections]) -> None:
    rgb, _ = page
    for i, text in enumerate(TEXTS):
        rows = slice(i * HEIGHT, (i + 1) * HEIGHT)
        y, x = np.nonzero(rgb[rows].min(axis=2) < 128)
        close = np.ascontiguousarray(rgb[rows][y.min() : y.max() + 1, x.min() : x.max() + 1])
        height, width = close.shape[:2]
        quad = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float32)
        assert ppocr(close, Detections.of_quads(quad, np.ones(1, np.float32)), alone=True).texts == (text,)


def test_a_line_alone_has_the_width_of_the_training(ppocr: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []
    infer = ppocr.engine.infer
    monkeypatch.setattr(ppocr.engine, "infer", lambda batch: widths.append(batch.shape[2]) or infer(batch))
    blank = np.full((48, 100, 3), 255, np.uint8)
    quad = Detections.of_quads(np.array([[[0, 0], [100, 0], [100, 48], [0, 48]]], np.float32), np.ones(1, np.float32))
    ppocr(blank, quad)
    ppocr(blank, quad, alone=True)
    assert set(widths) == {128, 320}


def test_what_says_nothing_is_left_out(ppocr: Reader) -> None:
    quad = np.array([[[0, 0], [200, 0], [200, 40], [0, 40]]], np.float32)
    blank = Detections.of_quads(quad, np.ones(1, np.float32))
    for split in ("lines", "words", "characters"):
        read = ppocr(np.full((40, 200, 3), 255, np.uint8), blank, split)
        assert len(read) == 0
        assert read.texts == ()


def test_where_shapes_count_lines_go_by_width_in_powers_of_two(ppocr: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    infer = ppocr.engine.infer
    monkeypatch.setattr(ppocr.engine, "infer", lambda batch: shapes.append(batch.shape[0::2]) or infer(batch))
    monkeypatch.setattr(ppocr.engine, "chunk", 4)
    texts = [np.full((48, columns, 3), 255, np.uint8) for columns in (500, 100, 150, 70, 101, 500, 99)]
    alike = [read.line for read in ppocr.read(texts)]
    assert shapes == [(3, 528), (4, 128)]
    shapes.clear()
    monkeypatch.setattr(type(ppocr.engine), "shape_by_shape", True)
    assert [read.line.text for read in ppocr.read(texts)] == [line.text for line in alike]
    assert shapes == [(1, 528), (1, 528), (1, 176), (1, 128), (2, 128), (1, 96)]


@pytest.mark.slow
def test_the_second_recogniser_reads_words_of_its_alphabet(page: tuple[np.ndarray, Detections], tmp_path: Path) -> None:
    spec = models.find("none-resnet-none-ctc")
    assert isinstance(spec, NetworkSpec)
    torch.manual_seed(0)
    weights = {f"module.{key}": tensor for key, tensor in spec.architecture().reader.state_dict().items()}
    torch.save(weights, tmp_path / "words.pth")
    (tmp_path / "engine").mkdir()
    second = reader(spec.name, tmp_path / "words.pth", tmp_path / "engine", max_batch=2)
    rgb, found = page
    assert found.quads is not None
    reads = second.read([rgb[top : top + HEIGHT] for top in range(0, len(rgb), HEIGHT)])
    assert len(reads) == len(TEXTS)
    for read in reads:
        assert set(read.line.text) <= set("0123456789abcdefghijklmnopqrstuvwxyz")
        assert 0 <= read.line.confidence <= 1
        assert read.steps == 26

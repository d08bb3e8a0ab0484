"""What benchmarks/ is made of; the comparison itself takes minutes and is no test."""

import zipfile
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import requests

from benchmarks import ceiling, compare, contestants, plain_archives, precision
from benchmarks.faces import Labelled, average_precision, mosaic
from benchmarks.pages import page
from detserve import models
from detserve.engines import sources
from detserve.engines.calibration import Calibration
from detserve.pack.weights import locate
from detserve.pictures.decode import decode


@pytest.mark.timed
def test_the_load_generator_drives_an_empty_server_at_several_times_a_real_ones_rate() -> None:
    head, row = (line.split() for line in ceiling.ceiling(("512x512",), seconds=1.0).splitlines())
    assert head[:2] == ["picture", "hits/s"]
    assert int(row[1]) > 1500, "detserve answers a few hundred of these a second on two cores"
    assert float(row[2]) < 1  # ms of a processor
    assert row[3] == "0"


@pytest.mark.slow
def test_the_plain_handler_finds_the_face(tmp_path: Path, astronaut: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ts.torch_handler.base_handler", reason="TorchServe is not installed", exc_type=ImportError)
    from benchmarks.plain_handler import PlainHandler

    plain_archives.faces(tmp_path / "plain.mar")
    with zipfile.ZipFile(tmp_path / "plain.mar") as mar:
        mar.extractall(tmp_path)
        assert not [name for name in mar.namelist() if "detserve" in name]
    handler = PlainHandler()
    handler.initialize(SimpleNamespace(system_properties={"model_dir": str(tmp_path)}))
    outputs = handler.inference(handler.preprocess([{"body": astronaut}]))
    (face,) = handler.postprocess(outputs)[0]
    assert face["box"] == pytest.approx([181, 58, 270, 180], abs=12)
    assert face["score"] > 0.8
    assert face["landmarks"][0] < face["landmarks"][2]


@pytest.mark.slow
def test_the_hand_built_server_finds_the_face(tmp_path: Path, astronaut: bytes) -> None:
    with contestants.hand_built(tmp_path) as (url, _):
        (face,) = requests.put(url, astronaut, timeout=30).json()
        refused = requests.put(url, b"no picture", timeout=30)
    assert face["xywh_ratio"] == pytest.approx([0.44, 0.23, 0.17, 0.23], abs=0.025)
    assert face["conf"] > 0.8
    assert face["landmarks_ratio"][0] < face["landmarks_ratio"][2]
    assert refused.status_code == 400


@pytest.mark.slow
def test_the_plain_handler_of_text_finds_the_lines_of_a_page(tmp_path: Path) -> None:
    pytest.importorskip("ts.torch_handler.base_handler", reason="TorchServe is not installed", exc_type=ImportError)
    from benchmarks.plain_text_handler import PlainTextHandler

    plain_archives.text(tmp_path / "plain.mar")
    with zipfile.ZipFile(tmp_path / "plain.mar") as mar:
        mar.extractall(tmp_path)
        assert not [name for name in mar.namelist() if "detserve" in name]
    handler = PlainTextHandler()
    handler.initialize(SimpleNamespace(system_properties={"model_dir": str(tmp_path)}))
    (regions,) = handler.postprocess(handler.inference(handler.preprocess([{"body": page(768, 382)}])))
    assert len(regions) == 7
    quads = np.array([region["quad"] for region in regions]).reshape(-1, 4, 2)
    first = quads[quads[:, :, 1].mean(axis=1).argmin()]
    assert [*first.min(axis=0), *first.max(axis=0)] == pytest.approx([6, 14, 592, 72], abs=10)


@pytest.mark.parametrize("size", [(512, 512), (4000, 300)])
def test_a_page_is_of_its_size_and_full_of_print(size: tuple[int, int]) -> None:
    picture = decode(page(*size))
    assert picture.size == size
    assert (picture.rgb.reshape(4, -1).std(axis=1) > 20).all()


def figures(rate: float, p50: float) -> compare.Figures:
    return compare.Figures(rate, p50, 2 * p50, 6.0, 0.2, 0, 1.0, 4.0, 0.3)


SHOWN = [(size, concurrency) for size in ceiling.SIZES for concurrency in compare.CONCURRENCY]


def test_tables_are_of_medians_and_ratios() -> None:
    rounds = [figures(100, 5), figures(300, 9), figures(200, 7)]
    assert compare.Figures.median(rounds) == figures(200, 7)
    rates = {"a": (200.0, 5.0), "b": (150.0, 6.5), "c": (50.0, 20.0)}
    results = {(letter, size, concurrency): figures(*rates[letter]) for letter in "abc" for size, concurrency in SHOWN}
    head, *rows = compare.throughput(results)
    assert len(rows) == 15
    row = dict(zip(head, rows[0], strict=True))
    assert (row["b/a"], row["b/c"], row["b p50"]) == ("0.75", "3.00", "6.5")
    head, *rows = compare.single(results)
    assert rows[0][-2:] == ["1.50", "-13.50"]
    assert len(list(compare.processors(results))) == 16
    idle = results | {("c", "512x512", 1): figures(0.0, 5)}
    assert next(iter(list(compare.throughput(idle))[1:]))[6] == "-"
    without = {key: value for key, value in results.items() if key[0] != "c"}
    head, *rows = compare.throughput(without)
    assert dict(zip(head, rows[0], strict=True))["b/a"] == "0.75"
    assert not any("c " in name or "/c" in name for name in head)
    assert len(list(compare.processors(without))) == 16
    unfair = without | {("d", size, n): figures(80.0 if n == 1 else 100.0, 5) for size, n in SHOWN}
    head, *rows = compare.best(unfair)
    row = dict(zip(head, rows[0], strict=True))
    assert (row["b QPS"], row["d QPS"], row["b/d"]) == ("150.0", "160.0", "0.94")


def test_average_precision_is_the_area_under_the_envelope() -> None:
    blank = np.zeros((100, 100, 3), np.uint8)
    pictures = [Labelled(blank, np.array([[10.0, 10.0], [50.0, 50.0]])), Labelled(blank, np.empty((0, 2)))]
    right, wrong, again = [0, 0, 20, 20, 0.9], [70, 70, 90, 90, 0.8], [5, 5, 15, 15, 0.7]
    other = [45, 45, 55, 55, 0.6]
    # Hits in the order of confidence: yes, no, no (found already), yes: precision 1 up to recall 1/2, then 2/4.
    found = [np.array([other, right, again]), np.array([wrong])]
    assert average_precision(found, pictures) == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)
    assert average_precision([np.array([right]), np.empty((0, 5))], pictures) == pytest.approx(0.5)


def test_noses_stay_on_their_faces_in_mosaics_and_mirrors() -> None:
    dot = np.zeros((200, 100, 3), np.uint8)
    dot[95:105, 15:25] = 255
    picture = mosaic([Labelled(dot, np.array([[20.0, 100.0]]))] * 4, 2).mirrored()
    assert picture.pixels.shape == (800, 800, 3)
    assert len(picture.noses) == 4
    for x, y in picture.noses:
        assert picture.pixels[int(y), int(x)].min() == 255


@pytest.mark.usefixtures("nncf")
@pytest.mark.slow
def test_precisions_are_compared_on_the_same_pictures(
    portraits: Path, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "ROUNDS", 1)
    monkeypatch.setattr(precision, "CALLS", 3)
    spec = models.find("centerface").override(size=(128, 128))
    pixels = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR)
    picture = Labelled(np.asarray(pixels, np.uint8), np.array([[225.0, 128.0]]))
    source = sources.of(spec, locate(spec.weights.origin))
    table = precision.rows(source, [picture, picture.mirrored()], Calibration.of([str(portraits)]))
    assert [row[:3] for row in table] == [["128x128", name, "100.00"] for name in ("fp32", "bf16", "int8")]
    assert float(table[2][4]) < float(table[0][4]) / 2

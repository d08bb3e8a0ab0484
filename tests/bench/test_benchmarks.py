"""What benchmarks/ is made of; the comparison itself takes minutes and is no test."""

import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import ceiling, compare
from benchmarks.contestants import pack_plain


def test_the_load_generator_drives_an_empty_server_at_several_times_a_real_ones_rate() -> None:
    head, row = (line.split() for line in ceiling.ceiling(("512x512",), seconds=1.0).splitlines())
    assert head[:2] == ["picture", "hits/s"]
    assert int(row[1]) > 1500, "detserve answers a few hundred of these a second on two cores"
    assert float(row[2]) < 1  # ms of a processor
    assert row[3] == "0"


def test_the_plain_handler_finds_the_face(tmp_path: Path, astronaut: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ts.torch_handler.base_handler", exc_type=ImportError)
    from benchmarks.plain_handler import PlainHandler

    pack_plain(tmp_path / "plain.mar")
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


def figures(rate: float, p50: float) -> compare.Figures:
    return compare.Figures(rate, p50, 2 * p50, 6.0, 0.2, 0, 1.0, 4.0, 0.3)


def test_tables_are_of_medians_and_ratios() -> None:
    rounds = [figures(100, 5), figures(300, 9), figures(200, 7)]
    assert compare.Figures.median(rounds) == figures(200, 7)
    rates = {"a": (200.0, 5.0), "b": (150.0, 6.5), "c": (50.0, 20.0)}
    results = {
        (letter, size, concurrency): figures(*rates[letter])
        for letter in "abc"
        for size in ceiling.SIZES
        for concurrency in compare.CONCURRENCY
    }
    head, *rows = compare.throughput(results)
    assert len(rows) == 9
    row = dict(zip(head, rows[0], strict=True))
    assert (row["b/a"], row["b/c"], row["b p50"]) == ("0.75", "3.00", "6.5")
    head, *rows = compare.single(results)
    assert rows[0][-1] == "1.50"
    assert len(list(compare.processors(results))) == 10

"""docs/bulk.md: its queries are run on real rows, and its table is that of the schema."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import duckdb
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from detserve.bulk.command import parse
from detserve.bulk.job import Entry
from detserve.bulk.rows import schema
from detserve.bulk.sources import expand
from tests.bulk.conftest import ROOT, Bulk

PAGE = (ROOT / "docs" / "bulk.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_table_has_the_columns_of_a_shard() -> None:
    table = PAGE[PAGE.index("| column | type |") :].partition("\n\n")[0]
    told = [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert told == schema().names
    for name in ("read", "decode", "infer", "post"):
        assert f"`{name}`" in table
    assert [field.name for field in schema().field("ms").type] == ["read", "decode", "infer", "post"]


def test_its_commands_are_taken() -> None:
    lines = [line.split() for block in blocks("sh") for line in block.splitlines() if "bulk.py" in line]
    commands = [line[2:] for line in lines if line[1] == "bulk.py"]
    assert len(commands) >= 5
    assert all(parse(command).out for command in commands)


@pytest.mark.slow
def test_its_queries_tell_what_is_in_the_rows(
    bulk: Bulk,
    album: Callable[[int], Path],
    astronaut: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bulk = Bulk(bulk.archive, tmp_path / "faces")
    top = album(20)
    whole = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR)
    cv2.imwrite(str(top / "large.jpg"), cv2.resize(whole, (1024, 1024)))
    assert bulk(top) == 0
    monkeypatch.chdir(tmp_path)
    queries = [query for block in blocks("sql")[:-1] for query in block.split(";") if query.strip()]
    failed, large, counts = (duckdb.sql(query).fetchall() for query in queries[:3])
    assert [row[:2] for row in failed] == [("bad_picture", 5)]
    ((path, width, height, conf),) = large
    assert path.endswith("large.jpg") and 100 < width < 250 and 100 < height < 300 and conf > 0.5
    assert [row[:2] for row in counts] == [(0, 5), (1, 11)]
    # What a second version would have written that finds nothing in it.
    blind = [row | {"version": "2.0", "detections": []} for row in bulk.rows() if row["path"] == path]
    parquet.write_table(pa.Table.from_pylist(blind, schema()), bulk.out / "part-2.parquet")
    assert duckdb.sql(queries[3]).fetchall() == [(path, ["1.0: 1", "2.0: 0"])]
    (bulk.out / "part-2.parquet").unlink()
    capsys.readouterr()
    (code,) = blocks("python")
    exec(code, {})
    printed = capsys.readouterr().out
    assert "bad_picture    5" in printed and len(re.findall(r" 1 +0\.\d+\n", printed)) == 11, printed


def test_an_inventory_becomes_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventory").mkdir()
    keys = ["a b/c%20.JPG", "notes.txt"]
    inventory = {"bucket": ["pets"] * 2, "key": keys, "size": [3, 4], "e_tag": ["x", "y"], "version_id": [""] * 2}
    parquet.write_table(pa.table(inventory), tmp_path / "inventory" / "1.parquet")
    duckdb.sql(blocks("sql")[-1])
    assert list(expand("list.parquet")) == [Entry("s3://pets/a b/c%20.JPG", 3, None, "x")]

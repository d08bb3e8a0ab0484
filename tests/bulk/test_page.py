"""docs/bulk.md: its queries are run on real rows, and its table is that of the schema."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from detserve.bulk.command import parse
from detserve.bulk.rows import schema
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
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bulk = Bulk(bulk.archive, tmp_path / "faces")
    assert bulk(album(20)) == 0
    monkeypatch.chdir(tmp_path)
    queries = [query for block in blocks("sql") for query in block.split(";") if query.strip()]
    failed, large, counts, versions = (duckdb.sql(query).fetchall() for query in queries)
    assert [row[:2] for row in failed] == [("bad_picture", 5)]
    assert len(large) == 0 and [row[:2] for row in counts] == [(0, 5), (1, 10)]
    assert versions == []
    capsys.readouterr()
    (code,) = blocks("python")
    exec(code, {})
    printed = capsys.readouterr().out
    assert "bad_picture    5" in printed and len(re.findall(r" 1 +0\.\d+\n", printed)) == 10, printed

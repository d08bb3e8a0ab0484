"""JSON, text and Markdown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detserve.client.documents.output import Answered, Writer
from detserve.client.documents.page import Source
from detserve.client.documents.plain import Json, Markdown, Text
from tests.client.documents.made import answered, rows, said


def written(kind: type[Writer], path: Path, *pages: Answered) -> str:
    writer = kind(path, Source(Path("scän.pdf"), is_pdf=True))
    for page in pages:
        writer.add(page)
    writer.finish()
    writer.close()
    return path.read_bytes().decode("utf-8")


def test_json_holds_the_answers_as_they_came(tmp_path: Path) -> None:
    found = rows("Straße", "漢字")
    text = written(Json, tmp_path / "x", answered(found), answered([], 2), answered(found[:1], 3))
    read = json.loads(text)
    assert read["document"] == "scän.pdf"
    assert [(page["page"], page["width"], page["height"]) for page in read["pages"]] == [
        (1, 1000, 1400), (2, 1000, 1400), (3, 1000, 1400),
    ]  # fmt: skip
    assert [page["answer"] for page in read["pages"]] == [found, [], found[:1]]
    assert sum('"漢字"' in line for line in text.splitlines()) == 1


def test_json_needs_no_text(tmp_path: Path) -> None:
    face = {"xywh_ratio": [0.5, 0.5, 0.1, 0.1], "conf": 0.9}
    assert json.loads(written(Json, tmp_path / "x", answered([face])))["pages"][0]["answer"] == [face]


def test_text_has_a_row_a_line_and_a_form_feed_between_pages(tmp_path: Path) -> None:
    pages = answered(rows("one two", "three")), answered([], 2), answered(rows("漢字"), 3)
    assert written(Text, tmp_path / "x", *pages) == "one two\nthree\n\f\f漢字\n"


def test_markdown_has_paragraphs_and_a_rule_between_pages(tmp_path: Path) -> None:
    tops = (100, 150, 300)
    first = answered([said(f"line {top}", 100, top, 300) for top in tops])
    second = answered(rows("漢字", "かな", "end"), 2)
    assert written(Markdown, tmp_path / "x", first, second) == "line 100 line 150\n\nline 300\n\n---\n\n漢字かな end\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("# 1 of 2", "\\# 1 of 2"),
        ("#1", "#1"),
        ("- item", "\\- item"),
        ("-5 °C", "-5 °C"),
        ("3. Oktober", "3\\. Oktober"),
        ("3.5 kg", "3.5 kg"),
        ("a*b_c `d` [e] <f> \\ |", "a\\*b\\_c \\`d\\` \\[e\\] \\<f\\> \\\\ \\|"),
        ("> 3", "\\> 3"),
        ("---", "\\---"),
        ("R&D", "R\\&D"),
    ],
)
def test_what_means_something_in_markdown_means_itself(tmp_path: Path, text: str, wanted: str) -> None:
    assert written(Markdown, tmp_path / "x", answered(rows(text))) == f"{wanted}\n"

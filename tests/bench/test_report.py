"""Tables, files, the plot."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve.bench import plot, report
from detserve.bench.pacer import Closed, Open
from detserve.bench.summary import Summary

GOOD = Summary(Closed(4), 10.0, 1234, 123.4, 5.0, 8.0, 21.5, 99.9, {}, 0.12, {"decode": 1.5})
BAD = Summary(Open(2000), 10.0, 20, 0.0, errors={"503": 12, "no connection": 8})


def test_the_table_has_a_line_a_load_and_its_columns_stand_under_each_other() -> None:
    head, good, bad = report.table([GOOD, BAD]).splitlines()
    assert head.split() == ["load", "QPS", "p50", "p90", "p99", "max", "client", "CPU", "decode", "errors"]
    assert good.split() == ["concurrency", "4", "123.4", "5.0", "8.0", "21.5", "99.9", "12%", "1.5", "0"]
    assert bad.endswith("-       -  12 × 503, 8 × no connection")
    assert good.index("123.4") + len("123.4") == head.index("QPS") + len("QPS")


def test_csv_and_json_say_the_same() -> None:
    rows = list(csv.DictReader(io.StringIO(report.to_csv([GOOD, BAD]))))
    document = json.loads(report.to_json("a server", [GOOD, BAD]))
    assert document["subject"] == "a server"
    for row, record in zip(rows, document["loads"], strict=True):
        assert {k: v for k, v in row.items() if v} == {k: str(v) for k, v in record.items() if v is not None}
    assert rows[0]["p99_ms"] == "21.5"
    assert (rows[1]["rate"], rows[1]["p99_ms"], rows[1]["errors"], rows[1]["errors_503"]) == ("2000", "", "20", "12")


def test_the_plot_is_whole_and_needs_nothing_else() -> None:
    page = plot.page("fd1 <&> more", [GOOD, Summary(Open(50), 1, 50, 49.0, 2, 3, 4, 5), BAD])
    assert not re.search(r"https?:|src=|href=|<script", page)
    assert "fd1 &lt;&amp;&gt; more" in page
    svg = ET.fromstring(re.search(r"<svg.*</svg>", page, re.S)[0])
    assert len(svg.findall("circle")) == 6  # three percentiles of the two loads that were answered
    assert "rate 2000/s" in page


def test_a_plot_of_no_answers_says_so() -> None:
    assert "Nothing was answered" in plot.page("x", [BAD])


@given(st.floats(0.01, 1e6), st.floats(0.002, 1e5), st.floats(1, 50))
def test_every_point_lies_inside_the_axes(rate: float, p50: float, spread: float) -> None:
    page = plot.page("x", [Summary(Closed(1), 1, 1, rate, p50, p50 * spread, p50 * spread**2, p50 * spread**2)])
    for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', page):
        assert plot.LEFT <= float(x) <= plot.WIDTH - plot.RIGHT + 0.1
        assert plot.TOP - 0.1 <= float(y) <= plot.HEIGHT - plot.BOTTOM + 0.1


def test_progress_is_silent_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report.Progress().say("anything")
    assert capsys.readouterr() == ("", "")

"""Report: summaries as a table, as CSV, as JSON, and as a line while they are measured."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from detserve.bench.pacer import Closed
from detserve.bench.summary import Run, Summary

LATENCIES = ("p50", "p90", "p99", "max")


def record(summary: Summary) -> dict[str, Any]:
    """A summary as one flat record; None for what was not measured. Latencies in ms, client CPU in processors."""
    load = summary.load
    figures: dict[str, Any] = {
        "concurrency": load.concurrency if isinstance(load, Closed) else None,
        "rate": None if isinstance(load, Closed) else load.rate,
        "arrivals": None if isinstance(load, Closed) else load.arrivals,
        "seconds": _rounded(summary.seconds),
        "hits": summary.hits,
        "qps": _rounded(summary.rate),
        **{f"{name}_ms": _rounded(getattr(summary, name)) for name in LATENCIES},
        "errors": sum(summary.errors.values()),
        "client_cpu": _rounded(summary.client_cpu),
    }
    figures |= {f"{name}_ms": _rounded(ms) for name, ms in summary.stages.items()}
    return figures | {f"errors_{status.replace(' ', '_')}": count for status, count in summary.errors.items()}


def table(summaries: Sequence[Summary]) -> str:
    """The table that is printed: latencies in ms, client CPU in percent of one processor."""
    stages = list(dict.fromkeys(name for summary in summaries for name in summary.stages))
    head = ["load", "QPS", *LATENCIES, "client CPU", *stages, "errors"]
    rows = [
        [
            str(summary.load),
            _figure(summary.rate),
            *(_figure(getattr(summary, name)) for name in LATENCIES),
            "-" if math.isnan(summary.client_cpu) else f"{summary.client_cpu:.0%}",
            *(_figure(summary.stages.get(name, math.nan)) for name in stages),
            _errors(summary.errors),
        ]
        for summary in summaries
    ]
    return align([head, *rows])


def align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in columns: the first and the last to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, last) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def to_csv(summaries: Sequence[Summary]) -> str:
    """One line for each load, below a line of names."""
    records = [record(summary) for summary in summaries]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(dict.fromkeys(key for each in records for key in each)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def to_json(subject: str, summaries: Sequence[Summary]) -> str:
    """The subject, what was measured, and a record of each load."""
    return json.dumps({"subject": subject, "loads": [record(summary) for summary in summaries]}, indent=2) + "\n"


class Progress:
    """A line on the terminal that is written over; nothing where stderr is no terminal."""

    def show(self, run: Run) -> None:
        """Show the figures of a run so far."""
        summary = Summary.of(run)
        figures = f"{_figure(summary.rate)}/s, p50 {_figure(summary.p50)} ms, p99 {_figure(summary.p99)} ms"
        self.say(f"{run.load}: {summary.seconds:.0f} s, {figures}, errors {_errors(summary.errors)}")

    def say(self, text: str) -> None:
        """Show this text; "" clears the line."""
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", flush=True, file=sys.stderr)


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.{1 if value < 1000 else 0}f}"


def _errors(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{count} × {status}" for status, count in sorted(errors.items())) or "0"


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)

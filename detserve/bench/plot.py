"""Plot: latency against load as one HTML file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from detserve.bench.pacer import Closed
from detserve.bench.report import table
from detserve.bench.summary import Summary

WIDTH, HEIGHT = 860, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 60, 20, 50
COLOURS = {"p50": "#2a9d5c", "p90": "#3b7dd8", "p99": "#d1495b"}

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }}
body {{ max-width: {width}px; margin: 2em auto; padding: 0 1em }}
svg {{ width: 100%; font-size: 13px }} svg text {{ fill: currentColor }}
.grid {{ stroke: currentColor; opacity: .15 }} pre {{ overflow-x: auto }}
</style>
<h1>Latency against load</h1>
<p>{title}</p>
{chart}
<p>Milliseconds, on a logarithmic scale, at the pictures a second that were answered. Points are joined from the
least load to the largest; the pointer over one tells its load.</p>
<pre>{table}</pre>
</html>
"""


def page(title: str, summaries: Sequence[Summary]) -> str:
    """The HTML page of these loads. Those without an answer are only in its table."""
    answered = sorted((s for s in summaries if not math.isnan(s.p99)), key=_size)
    chart = _chart(answered) if answered else "<p>Nothing was answered.</p>"
    return _PAGE.format(title=escape(title), chart=chart, table=escape(table(summaries)), width=WIDTH)


def _size(summary: Summary) -> tuple[bool, float]:
    """Closed loops by their callers, then open loops by their rates."""
    load = summary.load
    return (False, load.concurrency) if isinstance(load, Closed) else (True, load.rate)


def _chart(summaries: Sequence[Summary]) -> str:
    rates, latencies = _linear_ticks(max(s.rate for s in summaries)), _log_ticks(summaries)

    def x(rate: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * rate / rates[-1]

    def y(ms: float) -> float:
        low, high = math.log(latencies[0]), math.log(latencies[-1])
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log(ms) - low) / (high - low)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="latency against load">']
    for ms in latencies:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(ms):.1f}" y2="{y(ms):.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(ms) + 4:.1f}" text-anchor="end">{ms:g} ms</text>')
    for rate in rates:
        parts.append(f'<line class="grid" x1="{x(rate):.1f}" x2="{x(rate):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x(rate):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{rate:g}/s</text>')
    for name, colour in COLOURS.items():
        points = [(x(s.rate), y(getattr(s, name)), s) for s in summaries]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _ in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for px, py, s in points:
            tip = f"{s.load}: {s.rate:.1f}/s, {name} {getattr(s, name):.1f} ms"
            parts.append(
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5" fill="{colour}"><title>{escape(tip)}</title></circle>'
            )
        px, py, _ = points[-1]
        parts.append(f'<text x="{px + 10:.1f}" y="{py + 4:.1f}" style="fill: {colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"])


def _linear_ticks(largest: float) -> list[float]:
    """From 0 to the largest or just above it, in 4 to 10 steps of 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(largest)) if largest > 0 else 1.0
    step = next(power * part for part in (0.1, 0.2, 0.5, 1, 2) if power * part * 10 >= largest)
    return [round(step * i, 10) for i in range(math.ceil(largest / step) + 1)] if largest > 0 else [0, 1]


def _log_ticks(summaries: Sequence[Summary]) -> list[float]:
    """1, 2 and 5 times powers of ten, from just below the least latency to just above the largest."""
    values = [getattr(s, name) for s in summaries for name in COLOURS]
    powers = range(math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 2)
    ticks = [part * 10.0**power for power in powers for part in (1, 2, 5)]
    first = max(i for i, tick in enumerate(ticks) if tick < min(values))
    last = min(i for i, tick in enumerate(ticks) if tick > max(values))
    return ticks[first : last + 1]

"""How soon a running server answers as usual again after an overload.

    make serve
    .venv/bin/python -m benchmarks.recovery [--model td1]

The limit is what 16 callers get. First comes a light load, then twice the limit as an open loop, then, without a pause,
the light load again. The server is back to normal in the first second in which every hit is answered and each half
second has a median latency within the p99 of the first light load.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from detserve.bench import samples
from detserve.bench.limit import CALLERS
from detserve.bench.pacer import Closed, Open, Surge
from detserve.bench.report import table
from detserve.bench.runner import Runner, Timing
from detserve.bench.summary import OK, Run, Summary
from detserve.bench.target import HttpTarget
from detserve.errors import SetupError

LIGHT, HEAVY = 0.2, 2.0
"""Parts of the limit."""
HALF = 0.5
"""Seconds: half of the second that must be normal. Each half is judged by itself."""


@dataclass(frozen=True)
class Recovery:
    """The light load before, the overload, and the light load after it.

    seconds: from the end of the overload until the latency was normal again, None if it never was.
    """

    before: Summary
    overload: Summary
    after: Summary
    seconds: float | None


def measure(runner: Runner, overload: float, light: float) -> Recovery:
    """Find the limit, then `light` seconds of light load, `overload` seconds of too much, and `light` seconds again."""
    limit = Summary.of(runner.run(Closed(CALLERS), Timing(2.0, 5.0))).rate
    rate = float(f"{LIGHT * limit:.3g}")
    before = Summary.of(runner.run(Open(rate, "constant"), Timing(1.0, light)))
    surge = Surge(rate, "constant", float(f"{HEAVY * limit:.3g}"), overload)
    run = runner.run(surge, Timing(0.0, overload + light))
    end = run.start + overload
    return Recovery(
        before,
        Summary.of(Run(Open(surge.surge, "constant"), run.start, end, run.hits)),
        Summary.of(Run(Open(rate, "constant"), end, run.end, run.hits)),
        normal_after(run, end, before.p99),
    )


def normal_after(run: Run, moment: float, normal: float) -> float | None:
    """Seconds from that moment to the first second that is normal in both halves; normal: milliseconds."""
    halves = [moment + i * HALF for i in range(int((run.end - moment) / HALF))]
    good = [_is_normal(run, start, normal) for start in halves]
    return next(
        (start - moment for start, now, then in zip(halves, good, good[1:], strict=False) if now and then), None
    )


def _is_normal(run: Run, start: float, normal: float) -> bool:
    hits = [hit for hit in run.hits if start <= hit.due < start + HALF]
    answered = bool(hits) and all(hit.status == OK for hit in hits)
    return answered and statistics.median(hit.end - hit.due for hit in hits) * 1000 <= normal


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the seconds → exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fd1", help="name of the served model (%(default)s)")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the server (%(default)s)")
    parser.add_argument("--pictures", default="512x512", metavar="P", help="as of qpstest.py (%(default)s)")
    parser.add_argument("--overload", type=float, default=10.0, metavar="S", help="seconds (%(default)s)")
    parser.add_argument("--light", type=float, default=10.0, metavar="S", help="seconds before and after (%(default)s)")
    options = parser.parse_args(arguments)
    aim = HttpTarget(f"{options.url.rstrip('/')}/predictions/{options.model}")
    try:
        data = [picture.data for picture in samples.load(options.pictures)]
        with Runner(aim, data, 1) as runner:
            if not (answer := runner.probe()).ok:
                raise SetupError(f"{aim.url} answers {answer.status}; make serve starts a server")
            found = measure(runner, options.overload, options.light)
    except SetupError as error:
        print(f"recovery: {error}", file=sys.stderr)
        return 1
    print(f"{aim.url}; pictures: {options.pictures}; light, {HEAVY:.0%} of the limit, light again")
    print(table([found.before, found.overload, found.after]))
    if found.seconds is None:
        print(f"not normal again within {options.light:g} s after the overload")
        return 1
    print(f"normal again {found.seconds:.1f} s after the overload")
    return 0


if __name__ == "__main__":
    sys.exit(main())

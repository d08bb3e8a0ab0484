"""Report: a line of progress while pictures are looked at, and a summary at the end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from detserve.bulk.job import Tally
from detserve.bulk.sources import Listing

if TYPE_CHECKING:
    from tqdm import tqdm

QUIET_SECONDS = 30.0
"""Between lines of progress where nobody watches, in a log."""
EACH = 10_000
"""Rows that are read between two looks at the clock."""


class Progress:
    """A bar on stderr with rate, errors and time left; in a log a line from time to time."""

    def __init__(self) -> None:
        self.bar = self._begin(" rows", QUIET_SECONDS / 10)
        self._said = 0

    def _begin(self, unit: str, delay: float = 0) -> tqdm[Any]:
        from tqdm import tqdm

        watched = sys.stderr.isatty()
        wait = 0.5 if watched else QUIET_SECONDS
        # miniters: a line each so many seconds also where nothing has changed, as a sign of life.
        return tqdm(unit=unit, mininterval=wait, miniters=0, dynamic_ncols=watched, delay=delay)

    def reading(self, keys: Iterable[bytes]) -> Iterator[bytes]:
        """The keys of what is done, counted as they are read; then the pictures begin."""
        self.bar.set_description_str("reading what is done", refresh=False)
        stream = iter(keys)
        try:
            while some := list(islice(stream, EACH)):
                yield from some
                self.bar.update(len(some))
        finally:
            self.bar.close()
        self.bar = self._begin(" pictures")

    def show(self, done: int, failed: int, listing: Listing) -> None:
        """So many pictures are done, of which so many failed. How many there are is known when all are listed."""
        found = listing.listed - listing.skipped
        self.bar.total = found if listing.complete else None
        self.bar.set_description_str("" if listing.complete else f"listing, {found:,} found", refresh=False)
        self.bar.set_postfix(errors=failed, refresh=False)
        for fault in listing.faults[self._said :]:
            self.bar.write(fault, file=sys.stderr)
            self._said += 1
        self.bar.update(max(0, done - self.bar.n))

    def close(self) -> None:
        """End the line."""
        self.bar.close()


@dataclass
class Summary:
    """What a run did. things: what its model finds."""

    things: str
    whole: Tally = field(default_factory=Tally)
    started: float = field(default_factory=time.time)
    ended: float = 0.0

    def add(self, tally: Tally) -> None:
        """A batch is done."""
        self.whole += tally
        self.ended = time.time()

    def text(self, processes: int, skipped: int) -> str:
        """The lines at the end. processes: that worked; skipped: pictures that were done before."""
        whole = self.whole
        lines = [f"{whole.pictures:,} pictures, {whole.detections:,} {self.things}"]
        lines[0] += f"; {skipped:,} were done before" if skipped else ""
        if whole.errors:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in Counter(whole.errors).most_common())
            lines.append(f"{whole.errors.total():,} errors: {kinds}")
        if whole.pictures:
            start, seconds = whole.began - self.started, self.ended - whole.began
            lines.append(
                f"{seconds:.1f} s after {start:.1f} s of starting: {whole.pictures / seconds:.1f} pictures a second, "
                f"{whole.pictures / whole.seconds:.1f} a second of each of {processes} processes; "
                f"the largest took {whole.peak / 2**20:.0f} MiB"
            )
        return "\n".join(lines)

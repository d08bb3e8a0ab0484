"""Report: a line of progress while pictures are looked at, and a summary at the end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from detserve.bulk.job import Tally
from detserve.bulk.sources import Listing

QUIET_SECONDS = 30.0
"""Between lines of progress where nobody watches, in a log."""


class Progress:
    """A bar on stderr with rate, errors and time left; in a log a line from time to time."""

    def __init__(self, listing: Listing) -> None:
        from tqdm import tqdm

        watched = sys.stderr.isatty()
        self.listing = listing
        self.bar = tqdm(unit=" pictures", mininterval=0.5 if watched else QUIET_SECONDS, dynamic_ncols=watched)

    def show(self, done: int, failed: int) -> None:
        """So many pictures are done, of which so many failed."""
        left = self.listing.listed - self.listing.skipped
        self.bar.total = left if self.listing.complete else None
        self.bar.set_postfix(errors=failed, refresh=False)
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

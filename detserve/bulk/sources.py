"""Sources: the pictures that folders, globs, buckets and manifests stand for, and the batches that are made of them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from detserve.bulk import manifest, stores
from detserve.bulk.globs import Glob
from detserve.bulk.job import Entry
from detserve.bulk.keys import Keys
from detserve.errors import SetupError
from detserve.pictures.files import SUFFIXES

SMALLEST = 16
"""The least pictures of a batch, where batches become smaller towards the end."""


@dataclass
class Listing:
    """Pictures as they are listed, each once, without those that are done.

    sources: paths, globs, URLs, manifests; done: keys of rows that are there already; limit: at most so many pictures;
    sample: the share of them that is taken, always the same ones. listed, skipped: how many there were so far, and how
    many of them were done before; faults: of sources that ended early, the others go on; complete: whether that is all.
    """

    sources: Sequence[str]
    done: Keys
    limit: int | None = None
    sample: float = 1.0
    listed: int = 0
    skipped: int = 0
    faults: list[str] = field(default_factory=list)
    complete: bool = False

    def __iter__(self) -> Iterator[Entry]:
        seen = Keys()
        chosen = (entry for source in self.sources for entry in self._expand(source) if self._in_sample(entry))
        for entry in islice((entry for entry in chosen if seen.add(entry.key)), self.limit):
            self.listed += 1
            if entry.key in self.done:
                self.skipped += 1
            else:
                yield entry
        self.complete = True

    def _expand(self, source: str) -> Iterator[Entry]:
        try:
            yield from expand(source)
        except (SetupError, OSError) as error:
            self.faults.append(str(error))

    def _in_sample(self, entry: Entry) -> bool:
        return self.sample >= 1 or int.from_bytes(entry.key[:4]) < self.sample * 2**32


def check(sources: Sequence[str]) -> None:
    """Raise SetupError for a source that is not there, before any work is done."""
    for source in sources:
        if stores.is_remote(source):
            if source.lower().endswith(manifest.SUFFIXES):
                raise SetupError(f"{source} is a manifest in a bucket: copy it to this machine, and name it there")
            stores.reach(source)
        elif stores.is_glob(source):
            Glob(source)
        elif not os.path.lexists(source):
            raise SetupError(f"no file or folder {source}")
        elif manifest.is_one(source):
            manifest.check(Path(source))


def expand(source: str) -> Iterator[Entry]:
    """The pictures of one source. Raises SetupError when there are none."""
    found = False
    for entry in _expand(source):
        found = True
        yield entry
    if not found:
        wanted = ", ".join(SUFFIXES)
        raise SetupError(f"no picture at {source}: a file, a folder with {wanted}, a glob or a manifest is needed")


def _expand(source: str) -> Iterator[Entry]:
    if stores.is_remote(source):
        if stores.is_glob(source):
            return stores.matches(Glob(source))
        return iter([stores.entry_of(source)]) if source.lower().endswith(SUFFIXES) else stores.walk(source)
    place = os.path.abspath(source)  # noqa: PTH100  links stay as they are
    if stores.is_glob(source):
        return stores.matches(Glob(place))
    if Path(place).is_dir():
        return stores.walk(place)
    return manifest.read(Path(place)) if manifest.is_one(place) else iter([stores.entry_of(place)])


def batches(entries: Iterable[Entry], size: int, hands: int) -> Iterator[list[Entry]]:
    """Batches of that size; the last become smaller and smaller, so that no hand waits long for the others' end.

    hands: how many work at once. Twice as many batches are held back, until it is known which are the last.
    """
    stream = iter(entries)
    held: deque[list[Entry]] = deque()
    while batch := list(islice(stream, size)):
        held.append(batch)
        if len(held) > 2 * hands:
            yield held.popleft()
    rest = [entry for batch in held for entry in batch]
    while rest:
        count = min(size, max(SMALLEST, len(rest) // (2 * hands)))
        yield rest[:count]
        rest = rest[count:]

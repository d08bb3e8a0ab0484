"""Job: what the processes of a run are told, and what they tell back. Only the standard library is imported here.

A process runs the code that its archive carries. What is imported before the archive is in place would be other code.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

FORMATS = ("parquet", "jsonl")
TIMES = range(-62_135_596_800_000_000, 253_402_300_800_000_000)
"""Microseconds since 1970 that are a date, of the years 1 to 9999. File systems have others as well."""


class Entry(NamedTuple):
    """A picture to look at, and how it was recognised.

    path: absolute, or a URL; size: bytes; mtime: microseconds since 1970, one of TIMES; etag: of a bucket's object, if
    the manifest has it. None is what could not be found out: then the picture is tried, and its row says what is wrong.
    """

    path: str
    size: int | None = None
    mtime: int | None = None
    etag: str | None = None

    @property
    def shown(self) -> str:
        """The path as it stands in a row: Parquet and JSON hold UTF-8, names of files any bytes."""
        return self.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    @property
    def key(self) -> bytes:
        """16 bytes that stand for (path, size, mtime or etag): the same picture has the same, another one another."""
        text = f"{self.shown}\0{self.size}\0{self.etag or self.mtime}"
        return hashlib.blake2b(text.encode(), digest_size=16).digest()


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is run, and where its rows go.

    model, version, sha256: of the archive; archive: the folder that it is unpacked into; out: of the shards; scratch:
    of the shards that are not whole yet; format: one of FORMATS; batch: pictures of one call of the pipeline; gpu: a
    GPU's number, None for one thread of the processor.
    """

    model: str
    version: str
    sha256: str
    archive: Path
    out: Path
    scratch: Path
    format: str
    batch: int = 1
    gpu: int | None = None

    def shard(self, entries: Sequence[Entry]) -> str:
        """The name of the shard of these entries: the same for the same, so that none is written twice."""
        keys = b"".join(entry.key for entry in entries)
        return f"part-{hashlib.blake2b(keys + self.sha256.encode(), digest_size=12).hexdigest()}.{self.format}"


@dataclass
class Tally:
    """What became of pictures.

    detections: found in them; errors: how many of each type; seconds: that a process worked on them; began: when it
    began, in seconds since 1970; peak: the most bytes of memory of a process.
    """

    pictures: int = 0
    detections: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    began: float = float("inf")
    peak: int = 0

    def __add__(self, other: Tally) -> Self:
        return type(self)(
            self.pictures + other.pictures,
            self.detections + other.detections,
            self.errors + other.errors,
            self.seconds + other.seconds,
            min(self.began, other.began),
            max(self.peak, other.peak),
        )


class Batch(NamedTuple):
    """Pictures for one shard; the journal has the rows of the first of them where a process has died over it.

    suspects: the pictures before that number are looked at one by one, for one of them has ended a process; fatal: the
    next one is not looked at, for it has ended two.
    """

    entries: Sequence[Entry]
    suspects: int = 0
    fatal: bool = False


class Stop(NamedTuple):
    """Write what there is, and end."""


class Ready(NamedTuple):
    """The process has loaded the archive. fault: why it could not; then it ends."""

    fault: str | None = None


class Full(NamedTuple):
    """The shard cannot be written. fault: why; then the process ends."""

    fault: str

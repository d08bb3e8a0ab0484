"""Todo: the batches of a run in one file of its scratch folder, each read by its place there.

The pictures that are to be looked at stand nowhere in memory: a hundred million paths take ten gigabytes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from detserve.bulk.job import Entry
from detserve.errors import SetupError

NAME = "todo"
LEVEL = 1
"""Of zlib: paths compress well, and listing should not wait for it."""


class Place(NamedTuple):
    """Where a batch stands in the file, in bytes."""

    start: int
    length: int


def write(batches: Iterable[Sequence[Entry]], folder: Path) -> Iterator[Place]:
    """Write the batches into a folder → the place of each, once it can be read. Raises SetupError."""
    path = folder / NAME
    start = 0
    try:
        with path.open("wb", buffering=0) as file:
            for batch in batches:
                data = memoryview(zlib.compress(json.dumps(batch).encode(), LEVEL))
                place = Place(start, len(data))
                while data:
                    data = data[file.write(data) :]
                yield place
                start += place.length
    except OSError as error:
        raise SetupError(f"cannot write to {folder.parent}: {error.strerror}") from error


def read(folder: Path, place: Place) -> list[Entry]:
    """The batch at that place. Raises SetupError where another run has taken the folder away, or it cannot be read."""
    try:
        with (folder / NAME).open("rb") as file:
            file.seek(place.start)
            return [Entry(*each) for each in json.loads(zlib.decompress(file.read(place.length)))]
    except FileNotFoundError:
        raise SetupError(f"another run has taken over {folder.parent}") from None
    except OSError as error:
        raise SetupError(f"cannot read from {folder.parent}: {error.strerror}") from error

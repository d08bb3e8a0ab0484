"""Journal: the rows of the batch that a process is at, in memory that outlives it. Only the standard library here.

The head is written after the rows that it counts: what a process leaves that dies over a row is not counted.
"""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

_HEAD = struct.Struct("<QQQ")


class State(NamedTuple):
    """How many rows there are, how many of them are of pictures that failed, and where the next one begins."""

    rows: int = 0
    failed: int = 0
    end: int = _HEAD.size


class Journal:
    """A file of rows, by its descriptor, of the process that writes it and of its parent; without a disk to be full."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def clear(self) -> None:
        """Begin anew."""
        os.ftruncate(self.descriptor, _HEAD.size)
        self._write_head(State())

    @property
    def state(self) -> State:
        """How far it is."""
        return State(*_HEAD.unpack(os.pread(self.descriptor, _HEAD.size, 0)))

    def append(self, rows: Sequence[Any], failed: int) -> None:
        """Add rows, of which so many are of pictures that failed."""
        before = self.state
        data = pickle.dumps(rows)
        written = before.end
        while data:
            count = os.pwrite(self.descriptor, data, written)
            data, written = data[count:], written + count
        self._write_head(State(before.rows + len(rows), before.failed + failed, written))

    def read(self) -> list[Any]:
        """All rows."""
        state = self.state
        rows: list[Any] = []
        with open(os.dup(self.descriptor), "rb") as file:  # noqa: PTH123  it has no name
            file.seek(_HEAD.size)
            while len(rows) < state.rows:
                rows += pickle.load(file)
        return rows

    def _write_head(self, state: State) -> None:
        os.pwrite(self.descriptor, _HEAD.pack(*state), 0)

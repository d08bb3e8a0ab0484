"""Keys: a set of 16-byte keys that takes 16 bytes for each, and not the hundred of a Python set."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

FRESH = 1 << 20
"""Keys that are held in a Python set before they are merged into the array."""


class Keys:
    """A set of keys, bytes of length 16."""

    def __init__(self) -> None:
        self._sorted: NDArray[np.bytes_] = np.empty(0, "S16")
        self._fresh: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._fresh)

    def __contains__(self, key: bytes) -> bool:
        if key in self._fresh:
            return True
        # As arrays: NumPy hands out single strings without their last zeros.
        wanted = np.array([key], "S16")
        place = int(np.searchsorted(self._sorted, wanted)[0])
        return bool((self._sorted[place : place + 1] == wanted).any())

    def add(self, key: bytes) -> bool:
        """Add a key → whether it is new."""
        if key in self:
            return False
        self._fresh.add(key)
        if len(self._fresh) >= FRESH:
            self._merge()
        return True

    def update(self, keys: Iterable[bytes]) -> None:
        """Add keys."""
        for key in keys:
            self._fresh.add(key)
            if len(self._fresh) >= FRESH:
                self._merge()
        self._merge()

    def _merge(self) -> None:
        fresh = np.sort(np.array(list(self._fresh), "S16"))
        self._fresh = set()
        merged = np.concatenate([self._sorted, fresh])
        merged.sort(kind="stable")  # two sorted runs are merged in one pass
        twice = np.flatnonzero(merged[1:] == merged[:-1])
        self._sorted = np.delete(merged, twice) if len(twice) else merged

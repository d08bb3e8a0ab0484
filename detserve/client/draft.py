"""Draft: a file that takes its name when it is whole."""

from __future__ import annotations

import os
from pathlib import Path


class Draft:
    """A file under a hidden name beside its own, until it is whole."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f".{target.name}.{os.getpid()}.part")

    def beside(self, name: str) -> Path:
        """Another file of this draft, which goes with it."""
        return self.path.with_name(f"{self.path.name}.{name}")

    def keep(self) -> None:
        """The file takes its own name, in place of one that has it."""
        self.path.replace(self.target)

    def discard(self) -> None:
        """Remove all that is there of it, if anything is."""
        self.path.unlink(missing_ok=True)
        for path in self.path.parent.glob(f"{_escaped(self.path.name)}.*"):
            path.unlink(missing_ok=True)


def write(target: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all. Raises OSError when it cannot be written."""
    draft = Draft(target)
    try:
        draft.path.write_bytes(data)
        draft.keep()
    finally:
        draft.discard()


def _escaped(name: str) -> str:
    """A name that means itself in a glob."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)

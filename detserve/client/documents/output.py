"""Output: what the writers of all formats have in common, and drafts, which become files when they are whole."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from detserve.client.documents.columns import in_columns
from detserve.client.documents.page import Page
from detserve.client.documents.paragraphs import paragraphs
from detserve.client.documents.text import Line, lines_of


@dataclass(frozen=True)
class Answered:
    """A page and what the server says of it."""

    page: Page
    detections: Sequence[Mapping[str, Any]]

    @cached_property
    def lines(self) -> list[Line]:
        """Its text, column by column. Raises DocumentError where the model does not read."""
        return in_columns(lines_of(self.detections, self.page.size))

    @cached_property
    def paragraphs(self) -> list[list[Line]]:
        """The same in paragraphs."""
        return paragraphs(self.lines)


class Writer(Protocol):
    """A document in one format, written page by page in their order."""

    def add(self, answered: Answered) -> None:
        """Take the next page."""

    def finish(self) -> None:
        """Write what comes after the last page; the file is whole then."""

    def close(self) -> None:
        """Free what is held, whether the file is whole or not."""


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


def _escaped(name: str) -> str:
    """A name that means itself in a glob."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)

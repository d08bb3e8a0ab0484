"""Output: what the writers of all formats have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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

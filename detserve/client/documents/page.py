"""Page: the picture of one page of a document, ready to be sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detserve.errors import DetserveError

Boxes = NDArray[np.float64]
Matrix = NDArray[np.float64]
"""[2, 3]: x, y → matrix[:, :2] @ (x, y) + matrix[:, 2]."""


class DocumentError(DetserveError):
    """A document, or a page of it, that cannot be opened, read or written. The text says why, on one line."""


def no_boxes() -> Boxes:
    """No boxes, float64 [0, 4]."""
    return np.empty((0, 4), np.float64)


@dataclass(frozen=True)
class Page:
    """The picture of one page.

    number: from 1; data: its bytes, as they are sent; size: (width, height) in pixels of the upright picture; dpi: of
    the picture, along x and y; own_text: where the document has text of its own on this page, boxes x0, y0, x1, y1 in
    pixels of the upright picture; placed: where the picture lies on a page of a PDF, from its pixels to the page's user
    space.
    """

    number: int
    data: bytes
    size: tuple[int, int]
    dpi: tuple[float, float]
    own_text: Boxes = field(default_factory=no_boxes)
    placed: Matrix | None = None

    @property
    def points(self) -> tuple[float, float]:
        """(width, height) of the page in points, 72 an inch."""
        return self.size[0] * 72 / self.dpi[0], self.size[1] * 72 / self.dpi[1]

    @property
    def filling(self) -> Matrix:
        """From pixels of the picture to a page that is just as large, in points from its lower left corner, y up."""
        return np.array([[72 / self.dpi[0], 0, 0], [0, -72 / self.dpi[1], self.points[1]]])


class Pages(Protocol):
    """An open document. Only one thread may use it."""

    @property
    def count(self) -> int:
        """How many pages it has, one at least."""

    def page(self, number: int) -> Page:
        """The page of that number, from 1, rendered now. Raises DocumentError when it cannot be read."""

    def close(self) -> None:
        """Frees what is held."""


@dataclass(frozen=True)
class Source:
    """A file that is read as a document; is_pdf: by its content."""

    path: Path
    is_pdf: bool

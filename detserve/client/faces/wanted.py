"""Wanted: what is made of faces, as the options of client.py say."""

from __future__ import annotations

from dataclasses import dataclass

from detserve.client.faces import MARGIN, SHAPES, STYLES


@dataclass(frozen=True)
class Wanted:
    """What is made of the faces of a picture, or of a video.

    crops: each face as a picture of its own; align: each brought into one position, on so many pixels, 0 for none;
    blur: of STYLES, None for none; shape: of SHAPES, what is covered; margin: by which boxes grow to both sides
    together, in ratios of themselves; strip: whether what a file says of itself is left out.
    """

    crops: bool = False
    align: int = 0
    blur: str | None = None
    shape: str = SHAPES[0]
    margin: float = MARGIN
    strip: bool = False

    def __post_init__(self) -> None:
        assert self.blur is None or self.blur in STYLES
        assert self.shape in SHAPES
        assert self.margin >= 0
        assert self.align >= 0

    @property
    def anything(self) -> bool:
        """Whether anything is made of faces at all."""
        return bool(self.crops or self.align or self.blur)

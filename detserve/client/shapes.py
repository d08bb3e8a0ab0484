"""Shapes: faces, texts and objects as programs have them, in whatever units they were made: pixels, or ratios."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Point(NamedTuple):
    """A point, x to the right and y down."""

    x: float
    y: float


@dataclass(frozen=True)
class Box:
    """A box along the edges of the picture."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Of the box."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Of the box."""
        return self.bottom - self.top

    @property
    def centre(self) -> Point:
        """Its middle."""
        return Point((self.left + self.right) / 2, (self.top + self.bottom) / 2)

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """left, top, right, bottom."""
        return self.left, self.top, self.right, self.bottom


class Landmarks(NamedTuple):
    """Five points of a face. Right and left are the subject's: the right eye is the one further left in a portrait."""

    right_eye: Point
    left_eye: Point
    nose: Point
    right_mouth: Point
    left_mouth: Point


@dataclass(frozen=True)
class Mask:
    """The pixels of an object. size: (width, height) of the picture; found: the server's words for it."""

    size: tuple[int, int]
    found: Mapping[str, Any] = field(repr=False)

    def pixels(self) -> NDArray[np.bool_]:
        """bool [h, w], true where the object is. Raises ValueError where the server's words make no mask."""
        from detserve.client.masks import mask_of

        mask = mask_of(self.found, self.size)
        assert mask is not None, "a mask is made where there is one"
        return mask


@dataclass(frozen=True)
class Face:
    """A face. landmarks: where the model has them."""

    box: Box
    conf: float
    landmarks: Landmarks | None = None


@dataclass(frozen=True)
class Text:
    """A text region. quad: its corners, clockwise from the text's top left; text, text_conf: where it was read."""

    box: Box
    conf: float
    quad: tuple[Point, ...]
    polygon: tuple[Point, ...] | None = None
    text: str | None = None
    text_conf: float | None = None


@dataclass(frozen=True)
class Object:
    """An object. mask: where masks were asked for."""

    box: Box
    conf: float
    label: str
    label_id: int
    mask: Mask | None = None

"""Rectangles: inputs that are cut to the shape of their picture, for detectors whose largest input is a square."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from detserve.core.letterbox import Letterbox
from detserve.models.spec import DetectorSpec, ModelSpec

ASPECTS = (16 / 9, 3 / 2, 4 / 3, 1.0)
"""Longer by shorter side of the pictures that cameras make. An input has one of these shapes, upright or lying."""


@dataclass(frozen=True, kw_only=True)
class RectangularSpec(DetectorSpec):
    """A detector whose decode takes the input's size from the outputs.

    rectangular: whether a picture that is no square gets an input that is none. It is scaled as onto the square, and
    the input is the smallest of `sizes` that holds it: the network does not compute what would be padding. Boxes come
    out where they were. On a GPU, where a batch needs one size, inputs are squares.
    """

    rectangular: bool = True

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """The (width, height) that an input may have: the square, and its parts for the shapes of `ASPECTS`."""
        side = self.size[0]
        if not self.rectangular or side != self.size[1]:
            return (self.size,)
        shorter = sorted({-(-round(side / aspect) // self.stride) * self.stride for aspect in ASPECTS})
        return tuple(dict.fromkeys(size for s in shorter for size in ((side, s), (s, side))))

    def letterbox(self, picture: tuple[int, int]) -> Letterbox:
        """Where a picture of that (width, height) lies on its input: in the middle."""
        square = Letterbox.fit(picture, self.size)
        width, height = square.inner
        canvas = next(size for size in self.sizes if size[0] >= width and size[1] >= height)
        return Letterbox(picture, canvas, square.inner, (canvas[0] - width) // 2, (canvas[1] - height) // 2)


def on_device(spec: ModelSpec, gpu: bool) -> ModelSpec:
    """The spec as it is served: on a GPU without rectangles."""
    return spec.override(rectangular=False) if gpu and isinstance(spec, RectangularSpec) else spec

"""Shapes: the range of inputs that a TensorRT engine is built for, and the one that it is fastest at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

from detserve.engines.base import EnginePlan
from detserve.models.parts import PartSpec
from detserve.models.spec import ModelSpec, ReaderSpec, TextSpec


class Shape(NamedTuple):
    """Pictures in a batch, and their height and width in pixels."""

    n: int
    height: int
    width: int


@dataclass(frozen=True)
class Shapes:
    """An optimisation profile: the least and the most of each axis, and the shape that TensorRT optimises for."""

    least: Shape
    opt: Shape
    most: Shape

    def __post_init__(self) -> None:
        for axis, (least, opt, most) in enumerate(zip(self.least, self.opt, self.most, strict=True)):
            if not 1 <= least <= opt <= most:
                raise ValueError(f"{Shape._fields[axis]} of a profile must grow: {least}, {opt}, {most}")

    @classmethod
    def of(cls, spec: ModelSpec, plan: EnginePlan) -> Self:
        """The shapes that a model is given when it is served.

        Inputs of a fixed size come in batches up to the plan's largest. Inputs whose size depends on the picture come
        one by one, with sides up to the spec's, and few are square. Lines have one height and many widths.
        """
        width, height = spec.size
        if not spec.dynamic:
            return cls(
                Shape(1, height, width), Shape(plan.opt_batch, height, width), Shape(plan.max_batch, height, width)
            )
        if isinstance(spec, PartSpec) and not spec.pixels:  # regions of one size, few or many
            side = spec.largest[0]
            return cls(Shape(1, side, side), Shape(spec.together, side, side), Shape(spec.together, side, side))
        if isinstance(spec, ReaderSpec):
            usual = max(spec.stride, width // 4)
            return cls(
                Shape(1, height, spec.stride),
                Shape(plan.opt_batch, height, usual),
                Shape(plan.max_batch, height, width),
            )
        usual = -(-width * 3 // 4 // spec.stride) * spec.stride
        most = (spec.longest, spec.longest) if isinstance(spec, TextSpec) else (height, width)
        return cls(Shape(1, spec.stride, spec.stride), Shape(1, usual, width), Shape(1, *most))

    @classmethod
    def of_dict(cls, entry: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(*(Shape(*entry[name]) for name in ("least", "opt", "most")))

    def to_dict(self) -> dict[str, list[int]]:
        """The shapes as the sidecar of an engine holds them: name → [n, height, width]."""
        return {name: list(shape) for name, shape in asdict(self).items()}

    @staticmethod
    def nchw(shape: Shape) -> tuple[int, int, int, int]:
        """The shape of a network's input, (n, 3, height, width)."""
        return shape.n, 3, shape.height, shape.width

    @staticmethod
    def nhwc(shape: Shape, channels: int = 3) -> tuple[int, int, int, int]:
        """The shape of a batch of pixels, (n, height, width, 3)."""
        return shape.n, shape.height, shape.width, channels

    def __str__(self) -> str:
        return " to ".join("x".join(map(str, shape)) for shape in (self.least, self.most))

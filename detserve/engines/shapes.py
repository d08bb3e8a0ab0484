"""Shapes: the range of inputs that a TensorRT engine is built for, and the one that it is fastest at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

from detserve.engines.base import EnginePlan
from detserve.models.spec import ModelSpec, ReaderSpec


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
        """What that model is given when it is served.

        Fixed inputs come in batches up to the plan's largest; inputs as large as the picture wants come one by one,
        with sides up to the spec's, most of them rather wide than high or the other way; lines have one height.
        """
        width, height = spec.size
        if not spec.dynamic:
            return cls(
                Shape(1, height, width), Shape(plan.opt_batch, height, width), Shape(plan.max_batch, height, width)
            )
        if isinstance(spec, ReaderSpec):
            usual = max(spec.stride, width // 4)
            return cls(
                Shape(1, height, spec.stride),
                Shape(plan.opt_batch, height, usual),
                Shape(plan.max_batch, height, width),
            )
        usual = -(-width * 3 // 4 // spec.stride) * spec.stride
        return cls(Shape(1, spec.stride, spec.stride), Shape(1, usual, width), Shape(1, height, width))

    @classmethod
    def of_dict(cls, entry: Mapping[str, Any]) -> Self:
        """From what `to_dict` gave."""
        return cls(*(Shape(*entry[name]) for name in ("least", "opt", "most")))

    def to_dict(self) -> dict[str, list[int]]:
        """As it is written beside an engine."""
        return {name: list(shape) for name, shape in asdict(self).items()}

    @staticmethod
    def nchw(shape: Shape) -> tuple[int, int, int, int]:
        """The shape of a network's input."""
        return shape.n, 3, shape.height, shape.width

    @staticmethod
    def nhwc(shape: Shape) -> tuple[int, int, int, int]:
        """The shape of a batch of pixels."""
        return shape.n, shape.height, shape.width, 3

    def __str__(self) -> str:
        return " to ".join("x".join(map(str, shape)) for shape in (self.least, self.most))

"""Enumerations and kinds of number: only their names count."""

from __future__ import annotations

NAMES = (
    *("DeviceType", "CalibrationAlgoType", "BuilderFlag", "NetworkDefinitionCreationFlag", "TensorLocation"),
    *("ElementWiseOperation", "UnaryOperation", "ActivationType", "PoolingType", "ReduceOperation", "MatrixOperation"),
    *("ScaleMode", "InterpolationMode", "ResizeMode", "ResizeCoordinateTransformation", "PaddingMode", "SliceMode"),
    *("SampleMode", "TensorIOMode"),
)
KINDS = ("bool", "int8", "uint8", "int32", "int64", "float16", "float32")


class Member:
    """A member of an enumeration: the same object for the same name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __int__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return self.name


class Enumeration:
    """An enumeration that has whatever member is asked of it."""

    def __getattr__(self, name: str) -> Member:
        if name.startswith("_"):
            raise AttributeError(name)
        setattr(self, name, Member(name))
        found: Member = self.__dict__[name]
        return found


globals().update({name: Enumeration() for name in NAMES} | {name: Member(name) for name in KINDS})
__all__ = [*NAMES, *KINDS]

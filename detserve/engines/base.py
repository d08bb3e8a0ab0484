"""Engine: what every engine can do, whatever runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Pixels
from detserve.engines.calibration import Calibration
from detserve.engines.sources.base import Source
from detserve.errors import BadSpec
from detserve.models.spec import DetectorSpec, ModelSpec

INT8 = "int8"
"""The precision whose ranges a backend learns from calibration pictures."""


@dataclass(frozen=True, kw_only=True)
class EnginePlan:
    """What an engine is built for: one of its backend's precisions, its largest batch, and the batch it is fastest at.

    opt_batch: only TensorRT uses it; 0 stands for the largest. Raises BadSpec for batches that make no sense.
    """

    precision: str
    max_batch: int
    opt_batch: int = 0

    def __post_init__(self) -> None:
        if self.max_batch < 1:
            raise BadSpec(f"the largest batch must be at least 1, not {self.max_batch}")
        if not 0 <= self.opt_batch <= self.max_batch:
            raise BadSpec(f"the best batch must lie between 1 and the largest, {self.max_batch}, not {self.opt_batch}")
        object.__setattr__(self, "opt_batch", self.opt_batch or self.max_batch)


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where an engine runs: the number of a GPU, or None for the CPU with that many threads."""

    threads: int = 1
    gpu: int | None = None


class Engine(ABC):
    """One engine, loaded: uint8 RGB [n, height, width, 3] → {output: float32 [n, ...]}.

    A subclass is the adapter of one runtime: `missing` says whether it runs here, `build` writes an engine's files
    into a folder, the constructor loads them.
    """

    name: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    """What it can compute in, its default first; "auto" is the processor's best."""

    for_gpus: ClassVar[bool] = False
    """Whether it runs on the worker's GPU where there is one."""
    shape_by_shape: ClassVar[bool] = False
    """Whether inputs of open sides are better run in small batches of one size than padded to the largest of many."""

    def __init__(self, folder: Path, spec: ModelSpec, plan: EnginePlan, device: Device) -> None:
        self.spec = spec
        self.chunk = max(self.load(folder, plan, device), spec.together)
        self(spec.blank(spec.together))  # the first call is slow, and no request's

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """What this machine lacks for this backend and how to get it, as a sentence; None when it runs."""

    @classmethod
    def can_run(cls, spec: ModelSpec) -> bool:
        """Whether it can run that model at all, as far as the spec tells."""
        return True

    @classmethod
    @abstractmethod
    def build(cls, source: Source, plan: EnginePlan, folder: Path, calibration: Calibration | None = None) -> None:
        """Write the engine's files into that empty folder: the same bytes for the same input.

        calibration: pictures to learn from; given for the precision INT8 and for no other.
        """

    @abstractmethod
    def load(self, folder: Path, plan: EnginePlan, device: Device) -> int:
        """Load the files that `build` wrote → `chunk`, the most pictures that one call of `infer` gets."""

    @abstractmethod
    def infer(self, batch: Pixels) -> list[NDArray[np.float32]]:
        """Run at most `chunk` pictures → the outputs in the order of the spec; they may be reused buffers."""

    def twin(self) -> Engine | None:
        """This engine for a second thread to call beside the first, on the same weights; None where it has none."""
        return None

    def computes_in(self, plan: EnginePlan) -> str:
        """The precision that it has here, loaded by that plan: "auto" is another on another processor."""
        return plan.precision

    def __call__(self, batch: Pixels, lend: bool = False) -> dict[str, NDArray[np.float32]]:
        """Run a batch of any size, in chunks where it is larger than one call takes.

        lend: whether the outputs may be the runtime's own buffers, which its next call overwrites; else they are
        copies. Raises ValueError for a batch of another shape or dtype.
        """
        if not self.spec.fits(batch):
            expected = f"uint8 [n, height, width, 3] of {self.spec.size[0]}x{self.spec.size[1]}"
            raise ValueError(f"{self.spec.name} takes {expected}, not {batch.dtype} {list(batch.shape)}")
        if lend and len(batch) <= self.chunk:
            return dict(zip(self.spec.outputs, self.infer(batch), strict=True))
        parts = [
            # A copy: the runtime overwrites its buffers in the next call.
            [output.copy() for output in self.infer(batch[start : start + self.chunk])]
            for start in range(0, len(batch), self.chunk)
        ]
        whole = parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts, strict=True)]
        return dict(zip(self.spec.outputs, whole, strict=True))


def detector_spec(engine: Engine) -> DetectorSpec:
    """The spec of a detector's engine."""
    assert isinstance(engine.spec, DetectorSpec), f"{engine.spec.name} does not detect"
    return engine.spec

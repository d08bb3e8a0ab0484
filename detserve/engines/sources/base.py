"""Source: a model with its weights, behind its preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from detserve.core.detections import Pixels
from detserve.models.spec import ModelSpec, Outputs

INPUT = "pixels"
"""Name of the input of every exported engine."""


class Source(Protocol):
    """What an engine is built from and compared with."""

    @property
    def spec(self) -> ModelSpec:
        """The spec of the model."""

    def export(self, path: Path) -> None:
        """Write it as ONNX: input `pixels`, uint8 RGB [n, h, w, 3], n open; outputs named as in the spec."""

    def reference(self, pixels: Pixels) -> Outputs:
        """Its outputs for a batch of pixels, uint8 [n, h, w, 3], in fp32: what the engines built from it must match."""

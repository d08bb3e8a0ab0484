"""Detector: from letterboxed pictures to what is found on them, on the processor or on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from detserve.engines.base import Engine
from detserve.engines.torch_device import TorchEngine
from detserve.core.detections import Detections, Floats, Pixels
from detserve.core.geometry import nms
from detserve.core.letterbox import Letterbox
from detserve.options import Options
from detserve.models.spec import DetectorSpec, Outputs


class Detector(Protocol):
    """An engine, its decode and its non-maximum suppression, wherever they run. `Batch` and `Raw` are its own."""

    spec: DetectorSpec

    def batch(self, n: int) -> Any:
        """Room for n letterboxed pictures, uint8 [n, height, width, 3]; parts of it are batches as well."""

    def draw(self, rgb: Pixels, letterbox: Letterbox, canvas: Any) -> None:
        """Letterbox a picture, uint8 [h, w, 3], onto one place of a batch."""

    def infer(self, batch: Any, options: Sequence[Options]) -> Any:
        """Run the engine on a batch, with the options of each of its pictures → what `found` reads."""

    def found(self, raw: Any, options: Sequence[Options]) -> list[Detections]:
        """What is on each picture of the batch, in pixels of the input, best first, suppressed."""

    def maps(self, batch: Any, raw: Any) -> dict[str, Floats]:
        """The score maps of the batch by name, float32 [n, h, w]."""


def detector(engine: Engine) -> Detector:
    """The engine with its decode, on the GPU where the engine is there and the model has a head in PyTorch."""
    head = detector_spec(engine).head() if isinstance(engine, TorchEngine) and engine.on_gpu else None
    if head is None:
        return HostDetector(engine)
    from detserve.worker.cuda_detector import CudaDetector

    return CudaDetector(engine, head)  # type: ignore[arg-type]


class HostDetector:
    """Decode and suppression on the processor, in numpy, behind any engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.spec = engine, detector_spec(engine)

    def batch(self, n: int) -> Pixels:
        """Room for n pictures."""
        width, height = self.spec.size
        return np.empty((n, height, width, 3), np.uint8)

    def draw(self, rgb: Pixels, letterbox: Letterbox, canvas: Pixels) -> None:
        """Letterbox a picture onto its place."""
        letterbox.apply(rgb, canvas, self.spec.fill)

    def infer(self, batch: Pixels, options: Sequence[Options]) -> Outputs:
        """The raw outputs of the network."""
        return self.engine(batch)

    def found(self, raw: Outputs, options: Sequence[Options]) -> list[Detections]:
        """Decode and suppress."""
        candidates = self.spec.decode(raw, [picture.conf for picture in options])
        return [c[nms(c.boxes, c.scores, o.iou)] for c, o in zip(candidates, options, strict=True)]

    def maps(self, batch: Pixels, raw: Outputs) -> dict[str, Floats]:
        """The score maps."""
        return self.spec.maps(raw)


def detector_spec(engine: Engine) -> DetectorSpec:
    """The spec of an engine that finds things."""
    assert isinstance(engine.spec, DetectorSpec), f"{engine.spec.name} does not detect"
    return engine.spec

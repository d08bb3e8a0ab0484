"""Detector: from letterboxed pictures to what is found on them. What every detector can do, and the one on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, TypeVar

import numpy as np

from detserve.core.detections import Detections, Floats, Pixels
from detserve.core.geometry import nms
from detserve.core.letterbox import Letterbox
from detserve.engines.base import Engine, detector_spec
from detserve.models.spec import ModelSpec, Outputs
from detserve.options import Options


class Indexable(Protocol):
    """A type whose parts are of the same type, as those of arrays and tensors."""

    def __getitem__(self, index: int | slice, /) -> Self:
        """A part."""


Canvases = TypeVar("Canvases", bound=Indexable)
"""Room for letterboxed pictures, uint8 [n, height, width, 3], where the detector needs it: an array or a tensor."""
Canvas = TypeVar("Canvas", bound=Indexable, contravariant=True)
"""One of them, for what only takes it."""
Raw = TypeVar("Raw")
"""What a detector's inference leaves for its post-processing."""


class Detector(Protocol[Canvases, Raw]):
    """An engine, its decode and its non-maximum suppression."""

    @property
    def spec(self) -> ModelSpec:
        """The model."""

    def canvases(self, n: int, size: tuple[int, int]) -> Canvases:
        """Room for n letterboxed pictures of that (width, height) in pixels; parts of it are canvases as well.

        It may be the room of the call before, so one batch is done with before the next asks for room.
        """

    def draw(self, rgb: Pixels, letterbox: Letterbox, canvas: Canvases) -> None:
        """Letterbox a picture, uint8 [h, w, 3], onto one of the canvases."""

    def infer(self, canvases: Canvases, options: Sequence[Options]) -> Raw:
        """Run the engine on n canvases, with the options of each → what `found` takes, before the next call."""

    def found(self, raw: Raw, options: Sequence[Options]) -> list[Detections]:
        """The detections of each picture after NMS, in pixels of its canvas, best first."""

    def maps(self, canvases: Canvases, raw: Raw) -> dict[str, Floats]:
        """The score maps of the pictures: name → float32 [n, h, w]."""


class HostDetector:
    """Decode and suppression on the processor, in numpy, behind any engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.spec = engine, detector_spec(engine)
        self._room = np.empty((0, 0, 0, 3), np.uint8)

    def canvases(self, n: int, size: tuple[int, int]) -> Pixels:
        """Room for n pictures of that (width, height): the same as last time where that was as large.

        So a runtime that was told where its input lies need not be told again.
        """
        shape = (n, size[1], size[0], 3)
        if self._room.shape != shape:
            self._room = np.empty(shape, np.uint8)
        return self._room

    def draw(self, rgb: Pixels, letterbox: Letterbox, canvas: Pixels) -> None:
        """Letterbox a picture onto its canvas."""
        letterbox.apply(rgb, canvas, self.spec.fill)

    def infer(self, canvases: Pixels, options: Sequence[Options]) -> Outputs:
        """The raw outputs of the network, until the next call."""
        return self.engine(canvases, lend=True)

    def found(self, raw: Outputs, options: Sequence[Options]) -> list[Detections]:
        """Decode and suppress."""
        candidates = self.spec.decode(raw, [each.conf_threshold for each in options])
        return [c[nms(c.boxes, c.scores, o.iou_threshold)] for c, o in zip(candidates, options, strict=True)]

    def maps(self, canvases: Pixels, raw: Outputs) -> dict[str, Floats]:
        """The score maps, which outlive the next call."""
        return {name: scores.copy() for name, scores in self.spec.maps(raw).items()}

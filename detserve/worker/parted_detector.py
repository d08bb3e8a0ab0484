"""PartedDetector: a model of several networks behind the pipeline, which takes its pictures one at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detserve.core.detections import Detections, Floats, Pixels
from detserve.core.letterbox import Letterbox
from detserve.engines.parts import PartedEngines
from detserve.models.parts import Wish
from detserve.options import Options


class PartedDetector:
    """Its engines, and what lies between them."""

    def __init__(self, engines: PartedEngines) -> None:
        self.engines, self.spec = engines, engines.spec

    def canvases(self, n: int, size: tuple[int, int]) -> Pixels:
        """Room for n pictures of that (width, height)."""
        return np.empty((n, size[1], size[0], self.spec.channels_of_canvas), np.uint8)

    def draw(self, rgb: Pixels, letterbox: Letterbox, canvas: Pixels) -> None:
        """Lay a picture, with its depth where it has any, on its canvas."""
        self.spec.draw(rgb, letterbox, canvas)

    def infer(self, canvases: Pixels, options: Sequence[Options]) -> list[Detections]:
        """Run the networks: what a mask is drawn for is known only after suppression."""
        return [
            self.spec.detect(self.engines.run, canvas, _wish(each))
            for canvas, each in zip(canvases, options, strict=True)
        ]

    def found(self, raw: list[Detections], options: Sequence[Options]) -> list[Detections]:
        """They are suppressed already."""
        return raw

    def maps(self, canvases: Pixels, raw: list[Detections]) -> dict[str, Floats]:
        """It has none to show."""
        return {}


def _wish(options: Options) -> Wish:
    return Wish(
        conf=options.conf_threshold,
        iou=options.iou_threshold,
        most=options.max_detections,
        masks=options.masks != "none",
    )

"""EAST: rotated boxes of text, cell by cell. Its weights are the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from detserve.core.detections import Detections, Floats
from detserve.models.east import decode as east
from detserve.models.spec import HALF_RANGE, NetworkSpec, OnnxSpec, Outputs, TextSpec, Weights

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class EastVgg16(NetworkSpec, TextSpec):
    """The PyTorch variant. conf is the least score of a cell. Quads that overlap by more than iou are merged."""

    def architecture(self) -> nn.Module:
        """The network, untrained."""
        from detserve.models.east.network import EastNetwork

        return EastNetwork()

    def load_weights(self, network: nn.Module, *paths: Path) -> None:
        """Load a state dict of the project. Raises BadWeights when it does not fit."""
        from detserve.models.checkpoints import load_strictly, read_state_dict

        load_strictly(network, read_state_dict(paths[0]), paths[0])

    def decode(self, outputs: Outputs, conf: Sequence[float]) -> list[Detections]:
        """The quads of each picture after locality-aware NMS."""
        return [self._decode_one(outputs["score"][i, 0], outputs["geometry"][i], c) for i, c in enumerate(conf)]

    def maps(self, outputs: Outputs) -> dict[str, Floats]:
        """The map of scores."""
        return {"score": outputs["score"][:, 0]}

    def _decode_one(self, score: Floats, geometry: Floats, conf: float) -> Detections:
        quads, scores = east.decode(score, geometry, layout="vgg16", threshold=conf)
        size = score.shape[1] * east.STRIDE, score.shape[0] * east.STRIDE
        inside = east.inside(quads, size)
        quads, _, scores = east.locality_nms(quads[inside], scores[inside], self.iou)
        return Detections.of_quads(quads, scores)


@dataclass(frozen=True, kw_only=True)
class EastTensorFlow(OnnxSpec, TextSpec):
    """OpenCV's frozen_east_text_detection.pb as an ONNX file, made by tf2onnx: maps with the channels last."""

    layout: ClassVar[Literal["NCHW", "NHWC"]] = "NHWC"

    def decode(self, outputs: Outputs, conf: Sequence[float]) -> list[Detections]:
        """The quads of each picture after NMS."""
        # The order of the outputs depends on the command that converted the graph. The score has one channel.
        score, geometry = sorted((outputs[name] for name in self.outputs), key=lambda maps: maps.shape[3])
        found = []
        for i, c in enumerate(conf):
            quads, scores = east.decode(
                score[i, ..., 0], geometry[i].transpose(2, 0, 1), layout="tensorflow", threshold=c
            )
            keep = east.nms(quads, scores, self.iou)
            found.append(Detections.of_quads(quads[keep], np.minimum(scores[keep], 1)))
        return found


SPECS = (
    EastVgg16(
        name="east-vgg16",
        task="text",
        weights=Weights(
            origin="your own east_vgg16.pth from the project EAST, https://github.com/SakuraRiven/EAST",
            licence="MIT",
            accuracy="not published for this file; the paper's: ICDAR 2015 F 78.2 (arXiv 1704.03155)",
        ),
        outputs=("score", "geometry"),
        size=(960, 960),
        mean=HALF_RANGE,
        std=HALF_RANGE,
        fill=127,
        conf=0.9,
        iou=0.2,
    ),
    EastTensorFlow(
        name="east-tensorflow",
        task="text",
        weights=Weights(
            origin="your own frozen_east_text_detection.pb of argman/EAST, converted by tf2onnx",
            licence="GPL-3.0-only",
            accuracy="not published for this file; the paper's: ICDAR 2015 F 78.2 (arXiv 1704.03155)",
        ),
        outputs=("first", "second"),
        size=(960, 960),
        mean=(123.68, 116.78, 103.94),
        fill=0,
        conf=0.5,
        iou=0.4,
    ),
)

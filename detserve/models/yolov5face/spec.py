"""yolov5-face: faces with five landmarks, anchor based, in five sizes. Its weights are the user's own (GPL-3.0)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Detections, Floats
from detserve.errors import BadSpec, BadWeights
from detserve.models.spec import DetectorSpec, NetworkSpec, Outputs, Weights

if TYPE_CHECKING:
    from torch import nn

STRIDES = (8, 16, 32)
"""Pixels of the input a cell of each output."""
ANCHORS = 3
"""Anchors a cell."""
VALUES = 16
"""Values an anchor: x, y, w, h, objectness, five landmarks x, y, class."""


@dataclass(frozen=True, kw_only=True)
class Yolov5Face(NetworkSpec, DetectorSpec):
    """One network of the family and its decode.

    blocks, width, depth: which network it is, see `Yolov5FaceNetwork`. anchors: width, height in pixels of the three
    anchors for each of the strides 8, 16, 32, one after the other; training can change them.
    """

    blocks: Literal["shuffle", "csp"]
    width: float
    depth: float = 1.0
    anchors: tuple[float, ...] = (4, 5, 8, 10, 13, 16, 23, 29, 43, 55, 73, 105, 146, 217, 231, 300, 335, 433)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.blocks not in ("shuffle", "csp"):
            raise BadSpec(f"model {self.name}: blocks must be shuffle or csp, not {self.blocks!r}")
        if len(self.anchors) != len(STRIDES) * ANCHORS * 2:
            raise BadSpec(f"model {self.name}: anchors must be 18 numbers, not {len(self.anchors)}")

    def architecture(self) -> nn.Module:
        """The network, untrained."""
        from detserve.models.yolov5face.network import Yolov5FaceNetwork

        return Yolov5FaceNetwork(self.blocks, self.width, self.depth, self.anchors)

    def load_weights(self, network: nn.Module, *paths: Path) -> None:
        """Load a checkpoint of the project, as it gives them out or as a state dict.

        Raises BadWeights when the file is no checkpoint, when its tensors are not those of this network, naming the
        model of the family that they fit, and when it was trained with other anchors than `decode` uses.
        """
        import torch

        from detserve.models.checkpoints import load_strictly, mismatch, read_state_dict

        (path,) = paths
        anchors = {key: buffer.clone() for key, buffer in network.named_buffers() if "anchor" in key}
        state = read_state_dict(path)
        try:
            load_strictly(network, state, path)
        except BadWeights as error:
            with torch.device("meta"):  # shapes only
                others = [spec for spec in SPECS if spec.name != self.name]
                fitting = [spec.name for spec in others if not mismatch(spec.architecture(), state)]
            if fitting:
                raise BadWeights(f"{error}; it fits {fitting[0]}, not {self.name}") from error
            raise
        for key, wanted in anchors.items():
            # The relative tolerance is above the rounding of half precision and below any difference that counts.
            if not torch.allclose(state[key], wanted, rtol=1e-3):
                found = ", ".join(f"{value:g}" for value in state[key].flatten().tolist())
                raise BadWeights(
                    f"{path}: trained with other anchors than {self.name} decodes: {key} is {found}; give the model's "
                    "setting `anchors` the values of the file's anchor_grid"
                )

    def decode(self, outputs: Outputs, conf: Sequence[float]) -> list[Detections]:
        """The cells whose objectness and score (objectness times class) are above `conf`, in pixels of the input.

        With s = sigmoid, anchor aw, ah and stride t, a cell gx, gy means: centre (2 s(x) - 0.5 + gx) t, likewise y;
        width (2 s(w))² aw, likewise height; landmark v aw + gx t, likewise y with ah. Rows are ordered by level,
        anchor, y and x. Landmarks are the subject's right eye, left eye, nose, right and left mouth corner.
        """
        threshold = np.asarray(conf, np.float64)
        with np.errstate(divide="ignore"):
            logit = np.log(threshold) - np.log1p(-threshold)  # -inf for 0, inf for 1
        levels = [self._decode_level(level, outputs[name], logit) for level, name in enumerate(self.outputs)]
        picture, boxes, scores, points = (np.concatenate(arrays) for arrays in zip(*levels, strict=True))
        above = scores > threshold[picture]
        chosen = [above & (picture == i) for i in range(len(conf))]
        return [Detections(boxes[rows], scores[rows], points[rows]) for rows in chosen]

    def head(self) -> nn.Module:
        """The same decode in PyTorch."""
        from detserve.models.head import Yolov5FaceHead

        return Yolov5FaceHead(self)

    def _decode_level(
        self, level: int, head: Floats, logit: NDArray[np.float64]
    ) -> tuple[NDArray[np.intp], Floats, Floats, Floats]:
        """Head map [n, 48, h, w], logit [n] → picture [k], boxes [k, 4], scores [k] and points [k, 5, 2].

        Only cells with an objectness above the picture's `logit` are touched: few of some thousands.
        """
        n, _, h, w = head.shape
        maps = head.reshape(n, ANCHORS, VALUES, h, w)
        picture, anchor, y, x = np.nonzero(maps[:, :, 4] > logit[:, None, None, None])
        values = maps[picture, anchor, :, y, x]
        size = np.asarray(self.anchors, np.float32).reshape(-1, ANCHORS, 2)[level, anchor]
        cell = np.stack((x, y), axis=1).astype(np.float32) * STRIDES[level]
        squashed = sigmoid(values[:, [0, 1, 2, 3, 4, 15]])
        centre = (2 * squashed[:, :2] - 0.5) * STRIDES[level] + cell
        half = (2 * squashed[:, 2:4]) ** 2 * size / 2
        points = values[:, 5:15].reshape(-1, 5, 2) * size[:, None] + cell[:, None]
        return picture, np.concatenate((centre - half, centre + half), axis=1), squashed[:, 4] * squashed[:, 5], points


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    y: Floats = np.exp(-np.logaddexp(0, -x))
    return y


def _spec(size: str, ap: str, blocks: Literal["shuffle", "csp"], width: float, depth: float = 1.0) -> Yolov5Face:
    return Yolov5Face(
        name=f"yolov5{size}-face",
        task="face",
        weights=Weights(
            origin="your own checkpoint from the project yolov5-face, https://github.com/deepcam-cn/yolov5-face",
            licence="GPL-3.0-only",
            accuracy=f"WIDER FACE val AP easy/medium/hard {ap}",
        ),
        outputs=("stride8", "stride16", "stride32"),
        size=(320, 320),
        std=(255.0, 255.0, 255.0),
        conf=0.3,
        iou=0.5,
        blocks=blocks,
        width=width,
        depth=depth,
    )


SPECS: tuple[Yolov5Face, ...] = (
    _spec("n-0.5", "90.76/88.12/73.82", "shuffle", 0.5),
    _spec("n", "93.61/91.52/80.53", "shuffle", 1.0),
    _spec("s", "94.33/92.61/83.15", "csp", 0.5, 0.33),
    _spec("m", "95.30/93.76/85.28", "csp", 0.75, 0.67),
    _spec("l", "95.90/94.40/84.50", "csp", 1.0),
)

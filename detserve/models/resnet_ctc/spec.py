"""None-ResNet-None-CTC of deep-text-recognition-benchmark: one word, 0-9 and a-z. Its weights are the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from detserve.core.detections import Pixels
from detserve.models.spec import HALF_RANGE, NetworkSpec, Outputs, ReaderSpec, Weights
from detserve.text import ctc
from detserve.text.ctc import Line

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class ResNetReader(NetworkSpec, ReaderSpec):
    """A recogniser of single words, by CTC. Every word is stretched to the same size."""

    def architecture(self) -> nn.Module:
        """The network behind a conversion to grey, untrained."""
        from detserve.models.resnet_ctc.network import GreyReader

        return GreyReader()

    def load_weights(self, network: nn.Module, *paths: Path) -> None:
        """Load a checkpoint of the project. Raises BadWeights when it does not fit."""
        from detserve.models.checkpoints import load_strictly, read_state_dict
        from detserve.models.resnet_ctc.network import GreyReader

        assert isinstance(network, GreyReader)
        load_strictly(network.reader, read_state_dict(paths[0]), paths[0])

    def width(self, aspect: float) -> int:
        """The width of the input, the same for every word."""
        return self.size[0]

    def place(self, text: Pixels, width: int) -> tuple[Pixels, int]:
        """The word stretched to the whole input, bicubic as the project does."""
        import cv2

        return cv2.resize(text, self.size, interpolation=cv2.INTER_CUBIC).astype("uint8", copy=False), width

    def read(self, outputs: Outputs) -> list[Line]:
        """The words of a batch; a word's confidence is the product of the probabilities of its steps."""
        return ctc.decode(outputs["logits"], self.alphabet, logits=True, confidence="product")


SPECS = (
    ResNetReader(
        name="none-resnet-none-ctc",
        task="read",
        weights=Weights(
            origin="your own None-ResNet-None-CTC.pth of deep-text-recognition-benchmark, "
            "https://github.com/clovaai/deep-text-recognition-benchmark",
            licence="Apache-2.0",
        ),
        outputs=("logits",),
        size=(100, 32),
        stride=1,
        mean=HALF_RANGE,
        std=HALF_RANGE,
        fill=127,
        conf=0.05,  # a product of 26 steps
        alphabet="0123456789abcdefghijklmnopqrstuvwxyz",
    ),
)

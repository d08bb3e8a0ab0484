"""The front of every engine: raw pixels to what the network was trained on, inside the engine."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detserve.spec import ModelSpec


class Preprocessed(nn.Module):
    """A network that takes pixels: uint8 RGB [n, height, width, 3] → the network's outputs.

    Batches travel as bytes, a quarter of the size of floats, and the engine's runtime fuses the arithmetic
    into its first layers.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.reverse = spec.channels == "BGR"
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", 1 / torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)
        self.shifts = any(spec.mean)
        self.scales = any(value != 1 for value in spec.std)
        self.eval()

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Uint8 [n, height, width, 3] → a tuple of float32 tensors in the order of the spec's outputs."""
        x = pixels.permute(0, 3, 1, 2).float()
        if self.reverse:
            x = x.flip(1)
        if self.shifts:
            x = x - self.mean
        if self.scales:
            x = x * self.scale
        outputs: tuple[Tensor, ...] = self.network(x)
        return outputs

    def example(self, batch: int = 1) -> Tensor:
        """A blank batch of the right shape, for tracing."""
        width, height = self.spec.size
        return torch.zeros(batch, height, width, 3, dtype=torch.uint8)

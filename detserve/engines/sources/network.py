"""The front of every engine: raw pixels to what the network was trained on, inside the engine."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from detserve.core.detections import Pixels
from detserve.engines.sources.base import INPUT
from detserve.models.spec import ModelSpec, Outputs

OPSET = 17


class Front(nn.Module):
    """Preprocessing as a module: uint8 RGB [n, height, width, 3] → what the network was trained on.

    half: float16 for a network that computes in it; the arithmetic before stays float32.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, spec: ModelSpec, half: bool = False) -> None:
        super().__init__()
        self.half_input = half
        self.pixels = spec.input_type is np.uint8
        self.reverse = spec.channels == "BGR"
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", 1 / torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)
        self.shifts = any(spec.mean)
        self.scales = any(value != 1 for value in spec.std)

    def forward(self, pixels: Tensor) -> Tensor:
        """Uint8 [n, height, width, 3] → float [n, 3, height, width], its memory still ordered by pixels.

        What another network gave passes as it is.
        """
        if not self.pixels:
            return pixels.half() if self.half_input else pixels
        x = pixels.float().permute(0, 3, 1, 2)  # in this order: TensorRT takes bytes into a cast, and nowhere else
        if self.reverse:
            x = x.flip(1)
        if self.shifts:
            x = x - self.mean
        if self.scales:
            x = x * self.scale
        return x.half() if self.half_input else x


class Preprocessed(nn.Module):
    """A network that takes pixels: uint8 RGB [n, height, width, 3] → the network's outputs.

    Batches travel as bytes, a quarter of the size of floats, and the engine's runtime fuses the arithmetic
    into its first layers. half: see `Front`.
    """

    def __init__(self, network: nn.Module, spec: ModelSpec, half: bool = False) -> None:
        super().__init__()
        self.front = Front(spec, half)
        self.network = network
        self.spec = spec
        self.eval()

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Uint8 [n, height, width, 3] → a tuple of tensors in the order of the spec's outputs."""
        outputs: tuple[Tensor, ...] = self.network(self.front(pixels))
        return outputs

    def example(self) -> Tensor:
        """A blank batch for tracing: of two, so that one is not taken for fixed; small where sides are open."""
        return torch.from_numpy(self.spec.example(2))

    def export(self, path: Path) -> None:
        """Write it as ONNX, with an open batch, and open sides where the spec has no fixed size.

        By torch's exporter for traced modules: the newer one needs two more packages, and the pinned torch has both.
        """
        names = [INPUT, *self.spec.outputs]
        sides = zip(("height", "width"), self.spec.input_shape, strict=False)
        open_axes = {0: "batch"} | {axis: name for axis, (name, side) in enumerate(sides, 1) if side is None}
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # It warns of its own age, and of sizes that it takes for constants.
            torch.onnx.export(
                self,
                (self.example(),),
                path,
                dynamo=False,
                input_names=names[:1],
                output_names=names[1:],
                dynamic_axes={INPUT: open_axes} | {name: {0: "batch"} for name in names[1:]},
                opset_version=OPSET,
            )

    def reference(self, pixels: Pixels) -> Outputs:
        """The outputs as PyTorch computes them in fp32 on the CPU."""
        with torch.inference_mode():
            outputs = self(torch.from_numpy(pixels))
        return dict(zip(self.spec.outputs, (output.numpy() for output in outputs), strict=True))

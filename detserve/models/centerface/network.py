"""CenterFace's network in PyTorch: a MobileNet-V2 with ReLU and a feature pyramid that ends at stride 4.

Source: CenterFace (Xu et al., 2019, "CenterFace: Joint Face Detection and Alignment Using Face as Point"), as the
published ONNX file describes it. The batch norms are folded into the convolutions, except those of the pyramid.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

# For each group of inverted residuals: output channels, repeats, and the stride of the first. All have expansion 6.
GROUPS = ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
TAPS = (96, 32, 24)
"""Channels of the backbone's groups that the pyramid merges, coarsest first."""
WIDTH = 24
"""Channels of the pyramid."""


class InvertedResidual(nn.Module):
    """1x1 up (when expansion > 1), depthwise 3x3, 1x1 down without activation; added to its input where it fits."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [nn.Conv2d(inputs, hidden, 1), nn.ReLU()] if expansion > 1 else []
        self.body = nn.Sequential(
            *expand,
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, outputs, 1),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] → [n, outputs, h / stride, w / stride]."""
        y: Tensor = self.body(x)
        return x + y if self.adds else y


class Merge(nn.Module):
    """One step of the pyramid: the coarser map doubled by a transposed convolution, plus a 1x1 of the finer one."""

    def __init__(self, lateral: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.ConvTranspose2d(WIDTH, WIDTH, 2, 2, bias=False), nn.BatchNorm2d(WIDTH, eps=1e-3), nn.ReLU()
        )
        self.lateral = nn.Sequential(nn.Conv2d(lateral, WIDTH, 1), nn.ReLU())

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """[n, 24, h, w] and [n, lateral, 2h, 2w] → [n, 24, 2h, 2w]."""
        summed: Tensor = self.up(coarse) + self.lateral(fine)
        return summed


class CenterFaceNetwork(nn.Module):
    """Picture → heat map of face centres (after the sigmoid), size, offset and landmark maps, all at stride 4."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), InvertedResidual(32, 16, 1, 1))
        self.groups = nn.ModuleList()
        channels = 16
        for outputs, repeats, stride in GROUPS:
            blocks = [InvertedResidual(channels, outputs, stride, 6)]
            blocks += [InvertedResidual(outputs, outputs, 1, 6) for _ in range(repeats - 1)]
            self.groups.append(nn.Sequential(*blocks))
            channels = outputs
        self.top = nn.Sequential(nn.Conv2d(channels, WIDTH, 1), nn.ReLU())
        self.merges = nn.ModuleList(Merge(tap) for tap in TAPS)
        self.smooth = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, 1, 1), nn.ReLU())
        self.heads = nn.ModuleList(nn.Conv2d(WIDTH, outputs, 1) for outputs in (1, 2, 2, 10))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """float32 [n, 3, h, w], sides multiples of 32 → [n, 1 | 2 | 2 | 10, h/4, w/4]."""
        x = self.stem(x)
        taps: dict[int, Tensor] = {}
        for (channels, _, _), group in zip(GROUPS, self.groups, strict=True):
            x = taps[channels] = group(x)
        x = self.top(x)
        for channels, merge in zip(TAPS, self.merges, strict=True):
            x = merge(x, taps[channels])
        x = self.smooth(x)
        heatmap, scale, offset, landmarks = (head(x) for head in self.heads)
        return torch.sigmoid(heatmap), scale, offset, landmarks

    def parameter_slots(self) -> Iterator[tuple[str, list[Tensor]]]:
        """The layers that hold weights, in the order of the ONNX file's nodes: (operator, its tensors in order)."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                tensors = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
                yield ("Conv" if isinstance(layer, nn.Conv2d) else "ConvTranspose"), tensors
            elif isinstance(layer, nn.BatchNorm2d):
                statistics = [layer.running_mean, layer.running_var]
                yield "BatchNormalization", [layer.weight, layer.bias, *(s for s in statistics if s is not None)]

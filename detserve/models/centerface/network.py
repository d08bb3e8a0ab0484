"""CenterFace's network in PyTorch: a MobileNet-V2 with ReLU and a feature pyramid that ends at stride 4.

Source: CenterFace (Xu et al., 2019, "CenterFace: Joint Face Detection and Alignment Using Face as Point"), as the
published ONNX file describes it. The batch norms are folded into the convolutions, except those of the pyramid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self, cast

import torch
from torch import Tensor, nn

# For each group of inverted residuals: output channels, repeats, and the stride of the first. All have expansion 6.
GROUPS = ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
TAPS = (96, 32, 24)
"""Channels of the backbone's groups that the pyramid merges, coarsest first."""
WIDTH = 24
"""Channels of the pyramid."""
MAPS = (1, 2, 2, 10)
"""Channels of the heat map, and of the maps of sizes, offsets and landmarks."""


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
    """One step of the pyramid: the coarser map doubled by a transposed convolution, plus a 1x1 of the finer one.

    A finer map of an odd side was rounded up when it was halved, so the last row or column of the doubled one is cut.
    """

    def __init__(self, lateral: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.ConvTranspose2d(WIDTH, WIDTH, 2, 2, bias=False), nn.BatchNorm2d(WIDTH, eps=1e-3), nn.ReLU()
        )
        self.lateral = nn.Sequential(nn.Conv2d(lateral, WIDTH, 1), nn.ReLU())

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """[n, 24, h, w] and [n, lateral, 2h, 2w], or one row or column less → the latter with 24 channels."""
        summed: Tensor = self.up(coarse)[:, :, : fine.shape[2], : fine.shape[3]] + self.lateral(fine)
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
        self.heads = nn.ModuleList(nn.Conv2d(WIDTH, outputs, 1) for outputs in MAPS)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """float32 [n, 3, h, w], sides multiples of 16 → [n, 1 | 2 | 2 | 10, h/4, w/4]."""
        x = self.stem(x)
        taps: dict[int, Tensor] = {}
        for (channels, _, _), group in zip(GROUPS, self.groups, strict=True):
            x = taps[channels] = group(x)
        x = self.top(x)
        for channels, merge in zip(TAPS, self.merges, strict=True):
            x = merge(x, taps[channels])
        x = self.smooth(x)
        maps = torch.cat([head(x) for head in self.heads], dim=1)
        heatmap, scale, offset, landmarks = torch.split(maps, [*MAPS], dim=1)
        return torch.sigmoid(heatmap), scale, offset, landmarks

    def folded(self) -> Self:
        """This network with what is linear multiplied out, and the four heads as one convolution.

        The last block's 320 channels go but to the pyramid's 24: as one convolution the two 1x1 take a fourteenth of
        the arithmetic, and the network 2 to 3 % less time. The heads together save 1 %.
        """
        block = cast(InvertedResidual, cast(nn.Sequential, self.groups[-1])[0]).body
        self.top[0] = _product(cast(nn.Conv2d, block[-1]), cast(nn.Conv2d, self.top[0]))
        block[-1] = nn.Identity()
        self.heads = nn.ModuleList([_side_by_side([cast(nn.Conv2d, head) for head in self.heads])])
        return self

    def parameter_slots(self) -> Iterator[tuple[str, list[Tensor]]]:
        """The layers that hold weights, in the order of the ONNX file's nodes: (operator, its tensors in order)."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                tensors = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
                yield ("Conv" if isinstance(layer, nn.Conv2d) else "ConvTranspose"), tensors
            elif isinstance(layer, nn.BatchNorm2d):
                statistics = [layer.running_mean, layer.running_var]
                yield "BatchNormalization", [layer.weight, layer.bias, *(s for s in statistics if s is not None)]


def _product(inner: nn.Conv2d, outer: nn.Conv2d) -> nn.Conv2d:
    """One 1x1 convolution that does what `outer` does after `inner`."""
    inner_bias, outer_bias = cast(Tensor, inner.bias).double(), cast(Tensor, outer.bias).double()
    a, b = inner.weight[:, :, 0, 0].double(), outer.weight[:, :, 0, 0].double()
    product = nn.Conv2d(inner.in_channels, outer.out_channels, 1)
    product.load_state_dict({"weight": (b @ a)[:, :, None, None], "bias": b @ inner_bias + outer_bias})
    return product


def _side_by_side(heads: Sequence[nn.Conv2d]) -> nn.Conv2d:
    """One 1x1 convolution whose output has the channels of all, in their order."""
    joined = nn.Conv2d(heads[0].in_channels, sum(head.out_channels for head in heads), 1)
    weights = {name: torch.cat([getattr(head, name) for head in heads]) for name in ("weight", "bias")}
    joined.load_state_dict(weights)
    return joined

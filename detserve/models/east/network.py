"""The network of EAST in PyTorch, with VGG16 as its body and rotated boxes as its geometry.

Source: Zhou et al., 2017, "EAST: An Efficient and Accurate Scene Text Detector". Written from a description of the
layers of a widespread implementation for PyTorch (SakuraRiven/EAST); the names of attributes, and so the keys of the
state dict, are those of its checkpoints.

Batch size and picture size stay free when the network is traced, exported to ONNX or converted by torch2trt: with
sides that are multiples of 32 every map is exactly half of the finer one, so maps are doubled by a factor.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from detserve.models.vgg import vgg16_bn

REACH = 512
"""The largest distance of a box's edge from its cell, in pixels of the input."""
UNITS = ((1024, 128, 1), (128, 128, 3), (384, 64, 1), (64, 64, 3), (192, 32, 1), (32, 32, 3), (32, 32, 3))
"""Inputs, outputs and kernel of the convolutions of the merging branch: two for each merge, one more at the end."""


class Extractor(nn.Module):
    """VGG16; the maps behind its last four pools go on."""

    def __init__(self) -> None:
        super().__init__()
        self.features = vgg16_bn()

    def forward(self, x: Tensor) -> list[Tensor]:
        """[n, 3, h, w] → 128, 256, 512 and 512 channels at strides 4, 8, 16 and 32."""
        pooled: list[Tensor] = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(x)
        return pooled[1:]


class Merge(nn.Module):
    """From the coarsest map on: double it, concatenate the next finer one by channel, convolve 1x1 and 3x3."""

    def __init__(self) -> None:
        super().__init__()
        for number, (inputs, outputs, kernel) in enumerate(UNITS, 1):
            self.add_module(f"conv{number}", nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))
            self.add_module(f"bn{number}", nn.BatchNorm2d(outputs))
        self.relu = nn.ReLU()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """What Extractor gives → [n, 32, h/4, w/4]."""
        *finer, y = maps
        for first, fine in zip((1, 3, 5), reversed(finer), strict=True):
            y = torch.cat((self.up(y), fine), 1)
            y = self.unit(first + 1, self.unit(first, y))
        return self.unit(7, y)

    def unit(self, number: int, x: Tensor) -> Tensor:
        """Convolution, batch norm and ReLU of that number: [n, inputs, h, w] → [n, outputs, h, w]."""
        conv, norm = self.get_submodule(f"conv{number}"), self.get_submodule(f"bn{number}")
        y: Tensor = self.relu(norm(conv(x)))
        return y


class Heads(nn.Module):
    """Score, distances and angle of every cell, by a 1x1 convolution each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(32, 1, 1)
        self.conv2 = nn.Conv2d(32, 4, 1)
        self.conv3 = nn.Conv2d(32, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[n, 32, h, w] → [n, 1, h, w] and [n, 5, h, w]."""
        distances = torch.sigmoid(self.conv2(x)) * REACH
        angle = (torch.sigmoid(self.conv3(x)) - 0.5) * math.pi
        return torch.sigmoid(self.conv1(x)), torch.cat((distances, angle), 1)


class EastNetwork(nn.Module):
    """EAST: for every cell whether it is text, and the rotated box around that text."""

    def __init__(self) -> None:
        super().__init__()
        self.extractor = Extractor()
        self.merge = Merge()
        self.output = Heads()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [n, 3, h, w], RGB from -1 to 1, sides multiples of 32 → score [n, 1, h/4, w/4], geometry [n, 5, …].

        Score: 0 to 1. Geometry: the distances in pixels of the input from the cell to the top, bottom, left and right
        edges of its box, and the box's angle in radians, within ±π/2. The cell (row, column) lies at pixel row 4 row
        and pixel column 4 column.
        """
        outputs: tuple[Tensor, Tensor] = self.output(self.merge(self.extractor(x)))
        return outputs

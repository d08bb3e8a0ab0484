"""The networks of CRAFT in PyTorch: characters and the links between them, and the refiner that links whole lines.

Source: Baek et al., 2019, "Character Region Awareness for Text Detection"; the refiner is part of the code published
with it, for links along lines (LinkRefiner). Written from a description of the layers; the names of attributes, and so
the keys of the state dict, are those of the published checkpoints.

Batch size and picture size stay free when a network is traced, exported to ONNX or converted by torch2trt: with sides
that are multiples of 32, as they are always fed, every map is exactly half of the finer one, so maps are doubled by a
factor and never resized to the size of another.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detserve.models.vgg import conv_unit, vgg16_bn

FEATURES = 32
"""Channels of the map from which text and links are read."""


class Backbone(nn.Module):
    """VGG16 without its last group's end, continued by a dilated convolution."""

    def __init__(self) -> None:
        super().__init__()
        vgg = vgg16_bn()
        # A slice ends where the decoder takes its map: behind a ReLU, except the fourth, which ends in front of one.
        self.slice1 = vgg[:13]
        self.slice2 = vgg[13:20]
        self.slice3 = vgg[20:30]
        self.slice4 = vgg[30:39]
        self.slice5 = nn.Sequential(
            nn.MaxPool2d(3, 1, 1), nn.Conv2d(512, 1024, 3, padding=6, dilation=6), nn.Conv2d(1024, 1024, 1)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """[n, 3, h, w] → 128, 256, 512, 512 and 1024 channels at strides 2, 4, 8, 16 and 16."""
        s2 = self.slice1(x)
        s4 = self.slice2(s2)
        s8 = self.slice3(s4)
        s16 = self.slice4(s8)
        return s2, s4, s8, s16, self.slice5(s16)


class Merge(nn.Module):
    """Two maps of the same size, concatenated by channel, then a 1x1 and a 3x3 convolution."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(*conv_unit(inputs, middle, 1), *conv_unit(middle, outputs))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """[n, a, h, w] and [n, inputs - a, h, w] → [n, outputs, h, w]."""
        merged: Tensor = self.conv(torch.cat((coarse, fine), 1))
        return merged


class CraftNetwork(nn.Module):
    """CRAFT: where characters are, and where two of them belong to one word."""

    def __init__(self) -> None:
        super().__init__()
        self.basenet = Backbone()
        self.upconv1 = Merge(1024 + 512, 512, 256)
        self.upconv2 = Merge(256 + 512, 256, 128)
        self.upconv3 = Merge(128 + 256, 128, 64)
        self.upconv4 = Merge(64 + 128, 64, FEATURES)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.conv_cls = nn.Sequential(
            nn.Conv2d(FEATURES, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 1),
            nn.ReLU(),
            nn.Conv2d(16, 2, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [n, 3, h, w], RGB as (pixel - mean) / std, sides multiples of 32 → text, link [n, 1, h/2, w/2].

        Both are scores as trained, about 0 to 1; no sigmoid follows. The cell (row, column) lies at pixel row 2 row and
        pixel column 2 column of the input.
        """
        scores, _ = self.read(x)
        return scores[:, :1], scores[:, 1:]

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What a refiner needs: text and link in one map [n, 2, h/2, w/2], and the features [n, 32, h/2, w/2]."""
        s2, s4, s8, s16, deep = self.basenet(x)
        y = self.upconv1(deep, s16)
        y = self.upconv2(self.up(y), s8)
        y = self.upconv3(self.up(y), s4)
        features = self.upconv4(self.up(y), s2)
        return self.conv_cls(features), features


class RefineNetwork(nn.Module):
    """CRAFT's refiner: a link map that joins the words of a line, from convolutions of four dilations."""

    def __init__(self) -> None:
        super().__init__()
        self.last_conv = nn.Sequential(*conv_unit(2 + FEATURES, 64), *conv_unit(64, 64), *conv_unit(64, 64))
        self.aspp1, self.aspp2, self.aspp3, self.aspp4 = (
            nn.Sequential(*conv_unit(64, 128, 3, dilation), *conv_unit(128, 128, 1), nn.Conv2d(128, 1, 1))
            for dilation in (6, 12, 18, 24)
        )

    def forward(self, scores: Tensor, features: Tensor) -> Tensor:
        """float32 [n, 2, h, w] and [n, 32, h, w], as CraftNetwork.read gives them → link [n, 1, h, w]."""
        x = self.last_conv(torch.cat((scores, features), 1))
        link: Tensor = self.aspp1(x) + self.aspp2(x) + self.aspp3(x) + self.aspp4(x)
        return link


class CraftRefined(nn.Module):
    """CRAFT and its refiner as one network, their weights in `craft` and `refine`."""

    def __init__(self) -> None:
        super().__init__()
        self.craft = CraftNetwork()
        self.refine = RefineNetwork()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As CraftNetwork, with the refined link map in place of the plain one."""
        scores, features = self.craft.read(x)
        return scores[:, :1], self.refine(scores, features)

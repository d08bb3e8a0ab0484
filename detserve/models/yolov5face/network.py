"""The networks of yolov5-face in PyTorch: a backbone of shuffle or CSP blocks, a path-aggregation neck, three heads.

Source: Qi et al., 2021, "YOLO5Face: Why Reinventing a Face Detector". Written from a description of the layers; the
names of attributes, and so the keys of the state dict, are those of the project's published checkpoints.

Every operation leaves the batch size and the picture's size free when the network is traced, exported to ONNX or
converted by torch2trt. That is why halves are taken by indexing and interleaved by unsqueeze, cat and reshape:
torch2trt would convert chunk and stack with the example's batch size written into the engine. It also finds functions
only where PyTorch keeps them, so none is imported by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from detserve.models.yolov5face.layout import ANCHORS, STRIDES, VALUES

EPS = 1e-3
"""Epsilon of all batch norms of the family; PyTorch's default of 1e-5 gives visibly different outputs."""


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, EPS)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] → [n, outputs, h / stride, w / stride]."""
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y


class Stem(nn.Module):
    """The picture to stride 4: a 3x3 convolution, then a 1x1 and 3x3 branch beside a max-pool, merged by a 1x1."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.stem_1 = ConvUnit(3, outputs, 3, 2)
        self.stem_2a = ConvUnit(outputs, outputs // 2)
        self.stem_2b = ConvUnit(outputs // 2, outputs, 3, 2)
        self.pool = nn.MaxPool2d(2, 2)
        self.stem_3 = ConvUnit(outputs * 2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, h, w] → [n, outputs, h / 4, w / 4]."""
        x = self.stem_1(x)
        merged: Tensor = self.stem_3(torch.cat((self.stem_2b(self.stem_2a(x)), self.pool(x)), 1))
        return merged


def conv_norm(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution without bias and batch norm, for a sequence."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs, EPS)]


class Shuffle(nn.Module):
    """ShuffleNet-V2 unit. With stride 1 half of the channels pass untouched; the two halves end interleaved.

    Interleaving is the channel shuffle with two groups of the original.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.middle = half
        self.splits = stride == 1
        skip = conv_norm(inputs, inputs, 3, stride, inputs) + conv_norm(inputs, half) + [nn.SiLU()]
        self.branch1 = nn.Sequential(*([] if self.splits else skip))
        self.branch2 = nn.Sequential(
            *conv_norm(half if self.splits else inputs, half),
            nn.SiLU(),
            *conv_norm(half, half, 3, stride, half),
            *conv_norm(half, half),
            nn.SiLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] → [n, outputs, h / stride, w / stride]."""
        left, right = (x[:, : self.middle], x[:, self.middle :]) if self.splits else (x, x)
        pair = torch.cat((self.branch1(left).unsqueeze(2), self.branch2(right).unsqueeze(2)), 2)
        # Of flatten TensorRT would not know how many channels come out, and its convolutions want to; view would not
        # do with channels last.
        return pair.reshape(pair.shape[0], 2 * self.middle, pair.shape[3], pair.shape[4])


class Bottleneck(nn.Module):
    """1x1, then 3x3; added to the input when `shortcut`."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = ConvUnit(channels, channels)
        self.cv2 = ConvUnit(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, h, w] → the same shape."""
        y: Tensor = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    """Cross-stage partial block: bottlenecks on one 1x1 projection of the input, joined with another by a 1x1."""

    def __init__(self, inputs: int, outputs: int, repeats: int, shortcut: bool = False) -> None:
        super().__init__()
        half = outputs // 2
        self.cv1 = ConvUnit(inputs, half)
        self.cv2 = ConvUnit(inputs, half)
        self.cv3 = ConvUnit(half * 2, outputs)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] → [n, outputs, h, w]."""
        joined: Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
        return joined


class SPP(nn.Module):
    """Spatial pyramid pooling: the map beside its maxima over 3x3, 5x5 and 7x7 cells."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1 = ConvUnit(channels, channels // 2)
        self.cv2 = ConvUnit(channels * 2, channels)
        self.pool = nn.MaxPool2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, h, w] → the same shape."""
        # Maxima of maxima: pooling 3x3 twice is pooling 5x5, and three times 7x7, to the last bit.
        three = self.pool(x := self.cv1(x))
        five = self.pool(three)
        merged: Tensor = self.cv2(torch.cat((x, three, five, self.pool(five)), 1))
        return merged


class Join(nn.Module):
    """Concatenation of maps by channel. A layer of its own because the layers of the network are numbered."""

    def forward(self, *maps: Tensor) -> Tensor:
        """[n, a, h, w], [n, b, h, w], … → [n, a + b + …, h, w]."""
        return torch.cat(maps, 1)


class Heads(nn.Module):
    """A 1x1 convolution for each level. The anchors are here only because checkpoints have them."""

    anchors: Tensor
    anchor_grid: Tensor

    def __init__(self, channels: Sequence[int], anchors: Sequence[float]) -> None:
        super().__init__()
        pixels = torch.tensor(anchors, dtype=torch.float32).view(len(STRIDES), ANCHORS, 2)
        self.register_buffer("anchors", pixels / torch.tensor(STRIDES).view(-1, 1, 1))
        self.register_buffer("anchor_grid", pixels.view(len(STRIDES), 1, ANCHORS, 1, 1, 2).clone())
        self.m = nn.ModuleList(nn.Conv2d(c, ANCHORS * VALUES, 1) for c in channels)

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        """The maps of the levels, [n, c, h, w] each → [n, 48, h, w] each."""
        return tuple(conv(x) for conv, x in zip(self.m, maps, strict=True))


def shuffle_backbone(channels: Sequence[int], deep: Callable[[int], int]) -> list[nn.Module]:
    """Layers 0 to 6 of n and n-0.5, with the channels at strides 4, 8, 16 and 32; `deep` scales the repeats."""
    layers: list[nn.Module] = [Stem(channels[0])]
    for inputs, outputs, repeats in zip(channels, channels[1:], (3, 7, 3), strict=False):
        layers.append(Shuffle(inputs, outputs, 2))
        layers.append(nn.Sequential(*(Shuffle(outputs, outputs, 1) for _ in range(deep(repeats)))))
    return layers


def csp_backbone(channels: Sequence[int], deep: Callable[[int], int]) -> list[nn.Module]:
    """Layers 0 to 8 of s, m and l, with the channels of the stem and of strides 4, 8, 16 and 32."""
    stem, c2, c3, c4, c5 = channels
    return [
        Stem(stem),
        C3(stem, c2, deep(3), shortcut=True),
        ConvUnit(c2, c3, 3, 2),
        C3(c3, c3, deep(9), shortcut=True),
        ConvUnit(c3, c4, 3, 2),
        C3(c4, c4, deep(9), shortcut=True),
        ConvUnit(c4, c5, 3, 2),
        SPP(c5),
        C3(c5, c5, deep(3)),
    ]


class Yolov5FaceNetwork(nn.Module):
    """One network of the family.

    blocks: those of the backbone, "shuffle" (n and n-0.5) or "csp" (s, m and l); width, depth: factors on the
    channels and on the repeats of blocks; anchors: width, height in pixels of three anchors for each stride, flat.
    """

    def __init__(self, blocks: Literal["shuffle", "csp"], width: float, depth: float, anchors: Sequence[float]) -> None:
        super().__init__()

        def wide(*channels: int) -> list[int]:
            return [math.ceil(c * width / 8) * 8 for c in channels]

        def deep(repeats: int) -> int:
            return max(round(repeats * depth), 1)

        if blocks == "shuffle":
            channels = wide(32, 128, 256, 512)
            backbone, self.taps = shuffle_backbone(channels, deep), (2, 4, 6)
            levels, repeats = wide(128, 128, 128), deep(1)
        else:
            channels = wide(64, 128, 256, 512, 1024)
            backbone, self.taps = csp_backbone(channels, deep), (3, 5, 8)
            levels, repeats = channels[-3:], deep(3)
        (c3, c4, c5), (p3, p4, p5) = channels[-3:], levels
        neck = [ConvUnit(c5, p4), nn.Upsample(scale_factor=2), Join(), C3(p4 + c4, p4, repeats)]
        neck += [ConvUnit(p4, p3), nn.Upsample(scale_factor=2), Join(), C3(p3 + c3, p3, repeats)]
        neck += [ConvUnit(p3, p3, 3, 2), Join(), C3(p3 + p3, p4, repeats)]
        neck += [ConvUnit(p4, p4, 3, 2), Join(), C3(p4 + p4, p5, repeats)]
        self.neck_at = len(backbone)
        self.model = nn.ModuleList([*backbone, *neck, Heads(levels, anchors)])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """float32 [n, 3, h, w], RGB from 0 to 1, sides multiples of 32 → [n, 48, h/s, w/s] for s = 8, 16, 32.

        The 48 channels are three anchors of 16 raw values each.
        """
        layers = list(self.model)
        maps = [x := layer(x) for layer in layers[: self.neck_at]]
        c3, c4, c5 = (maps[tap] for tap in self.taps)
        reduce5, up5, join4, merge4, reduce4, up4, join3, merge3, *rest = layers[self.neck_at :]
        down3, rejoin4, remerge4, down4, rejoin5, remerge5, heads = rest
        # Top down: each coarser map is doubled and joined with the backbone's map of that stride ...
        top5 = reduce5(c5)
        top4 = reduce4(merge4(join4(up5(top5), c4)))
        p3 = merge3(join3(up4(top4), c3))
        # ... then bottom up: each finer map is halved and joined with the one that was doubled above.
        p4 = remerge4(rejoin4(down3(p3), top4))
        p5 = remerge5(rejoin5(down4(p4), top5))
        outputs: tuple[Tensor, ...] = heads(p3, p4, p5)
        return outputs

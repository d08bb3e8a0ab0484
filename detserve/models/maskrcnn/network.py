"""The networks of Mask R-CNN: what runs on the picture (`Features`), and what on its regions (`BoxHead`, `MaskHead`).

Sources: He et al., 2015, Deep Residual Learning (ResNet-50); Lin et al., 2017, Feature Pyramid Networks; Ren et al.,
2015, Faster R-CNN; He et al., 2017, Mask R-CNN. Batch norms are no layers here: as they are frozen, each is folded into
the weights of the convolution before it when a checkpoint is loaded, so that every backend computes the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, relu

BLOCKS = (3, 4, 6, 3)
"""Bottlenecks of each stage of ResNet-50."""
WIDTH, EXPANSION = 64, 4
"""Channels in the bottlenecks of the first stage, and of what comes out of any a multiple of those within."""
PYRAMID = 256
"""Channels of each map of the pyramid."""
ANCHORS = 3
"""Anchors of one cell."""
BOX_SIDE, MASK_SIDE = 7, 14
"""Sides of the regions that the two heads take."""
HIDDEN = 1024

Stem = Literal["colour", "four", "two"]
"""What the network sees: three channels, four in one stem, or colour and depth in a stem each."""


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, added to the input; stride_in_3x3: which convolution strides, the second or the first."""

    def __init__(self, inputs: int, width: int, stride: int, stride_in_3x3: bool) -> None:
        super().__init__()
        outputs = width * EXPANSION
        first, second = (1, stride) if stride_in_3x3 else (stride, 1)
        self.conv1 = nn.Conv2d(inputs, width, 1, first)
        self.conv2 = nn.Conv2d(width, width, 3, second, 1)
        self.conv3 = nn.Conv2d(width, outputs, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] → [n, 4 · width, h / stride, w / stride]."""
        y = relu(self.conv1(x))
        y = self.conv3(relu(self.conv2(y)))
        return relu(y + self.shortcut(x))


class PlainStem(nn.Module):
    """7x7 with stride 2, ReLU, max-pool: to a quarter of the size."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, WIDTH, 7, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] → [n, 64, h / 4, w / 4]."""
        return max_pool2d(relu(self.conv1(x)), 3, 2, 1)


class DeepStem(nn.Module):
    """The same with two further 3x3 before the max-pool."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, WIDTH, 7, 2, 3)
        self.conv2 = nn.Conv2d(WIDTH, WIDTH, 3, 1, 1)
        self.conv3 = nn.Conv2d(WIDTH, WIDTH, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] → [n, 64, h / 4, w / 4]."""
        return max_pool2d(relu(self.conv3(relu(self.conv2(relu(self.conv1(x)))))), 3, 2, 1)


class TwoStems(nn.Module):
    """Colour and depth through a stem each, joined by a 1x1 without a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.rgb_stem, self.d_stem = DeepStem(3), DeepStem(1)
        self.conv1x1 = nn.Conv2d(2 * WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 4, h, w] → [n, 64, h / 4, w / 4]."""
        joined: Tensor = self.conv1x1(torch.cat([self.rgb_stem(x[:, :3]), self.d_stem(x[:, 3:])], dim=1))
        return joined


class Features(nn.Module):
    """A picture to its pyramid and to the logits and deltas of the proposals on each level.

    Its input has the channels of the stem and a last one, 1 where the picture lies and 0 in the padding, which is empty
    after normalisation. mean, std: of each channel but that, in the order that the network was trained on; reverse:
    whether its colours are blue, green, red; levels: 4 for proposals on p2 to p5, 5 for p6 too.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        stem: Stem,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        reverse: bool,
        levels: int,
        stride_in_3x3: bool,
    ) -> None:
        super().__init__()
        self.levels, self.order = levels, [2, 1, 0, 3][: len(mean)] if reverse else list(range(len(mean)))
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.stem = TwoStems() if stem == "two" else PlainStem(len(mean))
        widths = [WIDTH << stage for stage in range(len(BLOCKS))]
        outputs = [width * EXPANSION for width in widths]
        self.stages = nn.ModuleList(
            nn.Sequential(
                Bottleneck(inputs, width, 1 if stage == 0 else 2, stride_in_3x3),
                *(Bottleneck(width * EXPANSION, width, 1, stride_in_3x3) for _ in range(blocks - 1)),
            )
            for stage, (inputs, width, blocks) in enumerate(zip([WIDTH, *outputs], widths, BLOCKS, strict=False))
        )
        self.lateral = nn.ModuleList(nn.Conv2d(channels, PYRAMID, 1) for channels in outputs)
        self.output = nn.ModuleList(nn.Conv2d(PYRAMID, PYRAMID, 3, 1, 1) for _ in outputs)
        self.rpn = nn.Conv2d(PYRAMID, PYRAMID, 3, 1, 1)
        self.logits = nn.Conv2d(PYRAMID, ANCHORS, 1)
        self.deltas = nn.Conv2d(PYRAMID, 4 * ANCHORS, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Float32 [n, channels + 1, h, w], values 0 to 255, sides multiples of 32 → p2 to p5, logits, deltas.

        p2 to p5 are [n, h / 4 … h / 32, …, 256], channels last, as regions are cut from them; logits [n, 3, …] and
        deltas [n, 12, …] of each level follow.
        """
        inside = x[:, -1:]
        x = self.stem((x[:, self.order] - self.mean) / self.std * inside)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        tops = [self.lateral[-1](maps[-1])]
        for lateral, finer in zip(list(self.lateral)[-2::-1], maps[-2::-1], strict=True):
            tops.append(lateral(finer) + interpolate(tops[-1], scale_factor=2.0, mode="nearest"))
        pyramid = [output(top) for output, top in zip(self.output, reversed(tops), strict=True)]
        searched = [*pyramid, max_pool2d(pyramid[-1], 1, 2)][: self.levels]
        hidden = [relu(self.rpn(each)) for each in searched]
        cells = [each.permute(0, 2, 3, 1).contiguous() for each in pyramid]
        return (*cells, *map(self.logits, hidden), *map(self.deltas, hidden))


class BoxHead(nn.Module):
    """Regions to the scores of their classes and to the deltas of a box for each.

    classes: columns of the scores, the background among them; moved: classes that have deltas.
    """

    def __init__(self, classes: int, moved: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(PYRAMID * BOX_SIDE**2, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, HIDDEN)
        self.scores = nn.Linear(HIDDEN, classes)
        self.deltas = nn.Linear(HIDDEN, 4 * moved)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Float32 [n, 7, 7, 256] → logits [n, classes] and deltas [n, 4 · moved], class by class."""
        x = relu(self.fc2(relu(self.fc1(x.flatten(1)))))
        return self.scores(x), self.deltas(x)


class MaskHead(nn.Module):
    """Regions to a map for each class."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.ModuleList(nn.Conv2d(PYRAMID, PYRAMID, 3, 1, 1) for _ in range(4))
        self.deconv = nn.ConvTranspose2d(PYRAMID, PYRAMID, 2, 2)
        self.logits = nn.Conv2d(PYRAMID, classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Float32 [n, 14, 14, 256] → logits [n, classes, 28, 28], alone in a tuple."""
        x = x.permute(0, 3, 1, 2)
        for conv in self.conv:
            x = relu(conv(x))
        return (self.logits(relu(self.deconv(x))),)

"""A reader of cropped words in PyTorch: a residual network without rectification or recurrence, and a linear CTC head.

Source: Baek et al., 2019, "What Is Wrong With Scene Text Recognition Model Comparisons?", its combination
None-ResNet-None-CTC; the residual network is that of Cheng et al., 2017, "Focusing Attention"; the loss that of Graves
et al., 2006, "Connectionist Temporal Classification". Written from a description of the layers; the names of
attributes, and so the keys of the state dict, are those of the published checkpoints.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

CLASSES = 37
"""The blank, ten digits and 26 letters."""


class Block(nn.Module):
    """Two 3x3 convolutions, added to the input; a 1x1 convolution adapts the input where the channels change."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        fit = [] if inputs == outputs else [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.downsample = nn.Sequential(*fit)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] → [n, outputs, h, w]."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        summed: Tensor = self.relu(y + self.downsample(x))
        return summed


def blocks(inputs: int, outputs: int, repeats: int) -> nn.Sequential:
    """A stage of the network."""
    return nn.Sequential(Block(inputs, outputs), *(Block(outputs, outputs) for _ in range(repeats - 1)))


def unit(name: str, inputs: int, outputs: int) -> dict[str, nn.Module]:
    """3x3 convolution without bias, batch norm and ReLU, under their names."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return {f"conv{name}": conv, f"bn{name}": nn.BatchNorm2d(outputs), f"relu{name}": nn.ReLU()}


class Trunk(nn.Sequential):
    """The residual network: float32 [n, 1, 32, w] → [n, 512, 1, w // 4 + 1].

    From the third pool on only the height shrinks, so that a narrow letter keeps a column of its own.
    """

    def __init__(self) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            **unit("0_1", 1, 32),
            **unit("0_2", 32, 64),
            pool1=nn.MaxPool2d(2),
            layer1=blocks(64, 128, 1),
            **unit("1", 128, 128),
            pool2=nn.MaxPool2d(2),
            layer2=blocks(128, 256, 2),
            **unit("2", 256, 256),
            pool3=nn.MaxPool2d(2, (2, 1), (0, 1)),
            layer3=blocks(256, 512, 5),
            **unit("3", 512, 512),
            layer4=blocks(512, 512, 3),
            conv4_1=nn.Conv2d(512, 512, 2, (2, 1), (0, 1), bias=False),
            bn4_1=nn.BatchNorm2d(512),
            relu4_1=nn.ReLU(),
            conv4_2=nn.Conv2d(512, 512, 2, bias=False),
            bn4_2=nn.BatchNorm2d(512),
            relu4_2=nn.ReLU(),
        )
        super().__init__(layers)


class ResNetCTC(nn.Module):
    """None-ResNet-None-CTC: a grey picture of one word → the scores of each character, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.FeatureExtraction = nn.Sequential(OrderedDict(ConvNet=Trunk()))
        self.Prediction = nn.Linear(512, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [n, 1, 32, w], grey from -1 to 1, trained with w = 100 → logits [n, w // 4 + 1, 37], class 0 blank.

        26 steps from left to right for w = 100.
        """
        # One row is left of an input 32 pixels high, so the mean is that row.
        columns = self.FeatureExtraction(x).mean(2)
        logits: Tensor = self.Prediction(columns.transpose(1, 2))
        return logits


class GreyReader(nn.Module):
    """The reader for pictures in colour: luma by ITU-R BT.601 as Pillow weighs it, then `ResNetCTC`."""

    luma: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.reader = ResNetCTC()
        self.register_buffer("luma", torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """RGB float32 [n, 3, 32, 100], normalised → a tuple of logits [n, 26, 37]."""
        return (self.reader((x * self.luma).sum(dim=1, keepdim=True)),)

"""VGG16 with batch norms, the convolutional body that CRAFT and EAST build on.

Source: Simonyan and Zisserman, 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition", its
configuration D; batch norms as in Ioffe and Szegedy, 2015. Layers are numbered as in the checkpoints of its users.
"""

from __future__ import annotations

from torch import nn

GROUPS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of each group; a max-pool ends it."""


def conv_unit(inputs: int, outputs: int, kernel: int = 3, dilation: int = 1) -> list[nn.Module]:
    """Convolution that keeps the size, batch norm and ReLU, for a sequence.

    The ReLU does not work in place: that would change the map before it, which another layer may still need.
    """
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2 * dilation, dilation=dilation)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


def vgg16_bn() -> nn.Sequential:
    """Layers 0 to 43: float32 [n, 3, h, w] → [n, 512, h/32, w/32]. A slice of it keeps the numbers of its layers."""
    layers: list[nn.Module] = []
    inputs = 3
    for channels, repeats in GROUPS:
        for _ in range(repeats):
            layers += conv_unit(inputs, channels)
            inputs = channels
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)

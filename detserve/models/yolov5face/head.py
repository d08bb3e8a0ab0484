"""The decode of yolov5-face in PyTorch, for an engine on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detserve.models.head import CANDIDATES, Candidates
from detserve.models.yolov5face.layout import ANCHORS, STRIDES, VALUES


class Yolov5FaceHead(nn.Module):
    """The decode of `detserve.models.yolov5face.decode`.

    size: (width, height) of the input in pixels; anchors: width, height of each, as in `Yolov5Face`.
    """

    cell: Tensor
    size: Tensor
    stride: Tensor

    def __init__(self, size: tuple[int, int], anchors: Sequence[float]) -> None:
        super().__init__()
        cells, sizes, strides = [], [], []
        levels = torch.tensor(anchors, dtype=torch.float32).view(len(STRIDES), ANCHORS, 2)
        for level, stride in enumerate(STRIDES):
            w, h = size[0] // stride, size[1] // stride
            y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            cells.append((torch.stack((x, y), dim=2).reshape(-1, 2) * stride).repeat(ANCHORS, 1))
            sizes.append(levels[level].repeat_interleave(w * h, dim=0))
            strides.append(torch.full((ANCHORS * w * h, 1), stride))
        self.register_buffer("cell", torch.cat(cells).float())
        self.register_buffer("size", torch.cat(sizes))
        self.register_buffer("stride", torch.cat(strides).float())

    def forward(self, outputs: tuple[Tensor, ...]) -> Candidates:
        """Maps [n, 48, h, w] of the three strides → candidates."""
        levels = [output.float().reshape(len(output), ANCHORS, VALUES, -1).transpose(2, 3) for output in outputs]
        values = torch.cat([level.flatten(1, 2) for level in levels], dim=1)
        scores, row = (values[:, :, 4].sigmoid() * values[:, :, 15].sigmoid()).topk(min(CANDIDATES, values.shape[1]))
        values = values.gather(1, row[:, :, None].expand(-1, -1, VALUES))
        cell, size, stride = self.cell[row], self.size[row], self.stride[row]
        squashed = values[:, :, :4].sigmoid()
        centre = (2 * squashed[:, :, :2] - 0.5) * stride + cell
        half = (2 * squashed[:, :, 2:]) ** 2 * size / 2
        points = values[:, :, 5:15].reshape(len(row), -1, 5, 2) * size[:, :, None] + cell[:, :, None]
        return Candidates(torch.cat((centre - half, centre + half), dim=2), scores, points)

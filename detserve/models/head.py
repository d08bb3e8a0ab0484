"""Heads: the decode of face detectors' outputs in PyTorch, for engines on a GPU. What it means, `detserve/models` says.

A head works on whole maps and keeps the best candidates, so that all its shapes are fixed and CUDA can record it; the
decode in numpy beside it touches only the cells above the threshold, which is what a processor is fast at.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from detserve.models.centerface.spec import STRIDE, CenterFace
from detserve.models.yolov5face.spec import ANCHORS, STRIDES, VALUES, Yolov5Face

CANDIDATES = 1024
"""How many candidates of a picture reach non-maximum suppression, the best by score."""


class Candidates(NamedTuple):
    """boxes [n, k, 4] and points [n, k, 5, 2] in pixels of the input, scores [n, k], best first; all float32."""

    boxes: Tensor
    scores: Tensor
    points: Tensor


class CenterFaceHead(nn.Module):
    """The decode of `CenterFace.decode`."""

    limit: Tensor

    def __init__(self, spec: CenterFace) -> None:
        super().__init__()
        self.register_buffer("limit", torch.tensor(spec.size, dtype=torch.float32))

    def forward(self, outputs: tuple[Tensor, ...]) -> Candidates:
        """Heatmap [n, 1, h, w], scale and offset [n, 2, h, w], landmarks [n, 10, h, w] → candidates."""
        heatmap, scale, offset, landmarks = (output.float().flatten(2) for output in outputs)
        scores, cell = heatmap[:, 0].topk(min(CANDIDATES, heatmap.shape[2]))
        width = outputs[0].shape[3]

        def at(maps: Tensor) -> Tensor:
            """[n, c, cells] → [n, k, c] at the chosen cells."""
            return maps.gather(2, cell[:, None].expand(-1, maps.shape[1], -1)).transpose(1, 2)

        side = STRIDE * at(scale).flip(2).exp()
        place = torch.stack((cell % width, cell // width), dim=2)
        centre = (place + at(offset).flip(2) + 0.5) * STRIDE
        start = torch.minimum((centre - side / 2).clamp(min=0), self.limit)
        end = torch.minimum(start + side, self.limit)
        points = at(landmarks).reshape(len(cell), -1, 5, 2).flip(3) * side[:, :, None] + start[:, :, None]
        return Candidates(torch.cat((start, end), dim=2), scores, points)


class Yolov5FaceHead(nn.Module):
    """The decode of `Yolov5Face.decode`."""

    cell: Tensor
    size: Tensor
    stride: Tensor

    def __init__(self, spec: Yolov5Face) -> None:
        super().__init__()
        cells, sizes, strides = [], [], []
        anchors = torch.tensor(spec.anchors, dtype=torch.float32).view(len(STRIDES), ANCHORS, 2)
        for level, stride in enumerate(STRIDES):
            w, h = spec.size[0] // stride, spec.size[1] // stride
            y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            cells.append((torch.stack((x, y), dim=2).reshape(-1, 2) * stride).repeat(ANCHORS, 1))
            sizes.append(anchors[level].repeat_interleave(w * h, dim=0))
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

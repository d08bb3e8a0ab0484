"""Boxes in PyTorch, on whatever device they are: deltas to boxes, overlap, greedy suppression."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

MOST_GROWTH = math.log(1000 / 16)
"""The largest logarithm by which a delta may stretch a side."""
BLOCK = 128
"""Boxes that are compared with each other at a time: what better ones suppress is not compared again."""


def apply_deltas(boxes: Tensor, deltas: Tensor, weights: tuple[float, float]) -> Tensor:
    """Boxes [..., 4] moved and stretched by deltas dx, dy, dw, dh [..., 4] (Girshick et al., 2014, R-CNN, appendix C).

    weights: what the deltas of centres and those of sides are divided by. Pixels in, pixels out.
    """
    sizes = boxes[..., 2:] - boxes[..., :2]
    centres = boxes[..., :2] + 0.5 * sizes
    moved = deltas[..., :2] / weights[0] * sizes + centres
    stretched = torch.exp((deltas[..., 2:] / weights[1]).clamp(max=MOST_GROWTH)) * sizes
    return torch.cat([moved - 0.5 * stretched, moved + 0.5 * stretched], dim=-1)


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes [..., 4] cut off at the edges of a picture of that (width, height)."""
    width, height = size
    return torch.stack([boxes[..., i].clamp(0, side) for i, side in enumerate((width, height, width, height))], dim=-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes [n, 4] and [m, 4] → [n, m]; NaN for two empty ones."""
    top_left = torch.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = (bottom_right - top_left).clamp(min=0)
    inner = sides[..., 0] * sides[..., 1]
    return inner / (_area(a)[:, None] + _area(b)[None, :] - inner)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def nms(boxes: Tensor, threshold: float, classes: Tensor | None = None, most: int | None = None) -> Tensor:
    """Greedy suppression of boxes [n, 4] that come best first → indices of those that stay, best first, int64.

    One goes when its overlap with a better one of its class that stays is greater than the threshold. most: look no
    further once so many stay; the result is the beginning of the whole one.
    """

    def over(these: Tensor, those: Tensor) -> Tensor:
        found = iou(boxes[these], boxes[those]) > threshold
        return found if classes is None else found & (classes[these][:, None] == classes[those][None, :])

    rest = torch.arange(len(boxes), device=boxes.device)
    kept: list[Tensor] = []
    count = 0
    while len(rest) and (most is None or count < most):
        block, rest = rest[:BLOCK], rest[BLOCK:]
        for earlier in kept:  # those have seen only what was in `rest` with them when there is no bound
            if most is not None and len(block):
                block = block[~over(earlier, block).any(dim=0)]
        alive = _greedy(over(block, block).cpu().numpy())
        stays = block[torch.from_numpy(alive).to(boxes.device)]
        kept.append(stays)
        count += len(stays)
        if most is None and len(rest):
            rest = rest[~over(stays, rest).any(dim=0)]
    found = torch.cat(kept) if kept else rest
    return found[:most]


def _greedy(over: np.ndarray) -> np.ndarray:
    """Which of a block of boxes stay, from who overlaps whom, bool [n, n]."""
    alive = np.ones(len(over), np.bool_)
    for i in range(len(over)):
        if alive[i]:
            alive[i + 1 :] &= ~over[i, i + 1 :]
    return alive

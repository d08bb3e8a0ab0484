"""Anchors: the boxes that the region proposal network starts from, at each cell of each level's grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from detserve.models.maskrcnn.convention import Convention

RATIOS = (0.5, 1.0, 2.0)
"""Height / width of the anchors of one cell (Lin et al., 2017, Feature Pyramid Networks)."""
SMALLEST = 32
"""Side in pixels of a square anchor of the finest level; it doubles from level to level."""


def cell_anchors(level: int, convention: Convention) -> Tensor:
    """The anchors around (0, 0) of a level, 0 being p2: float32 [3, 4]."""
    side = float(SMALLEST << level)
    ratios = torch.tensor(RATIOS)
    if convention.rounded_anchors:
        roots = torch.sqrt(ratios)
        widths, heights = side / roots, side * roots
        return (torch.stack([-widths, -heights, widths, heights], dim=1) / 2).round()
    widths = torch.tensor([math.sqrt(side**2 / ratio) for ratio in RATIOS])
    heights = torch.tensor([math.sqrt(side**2 / ratio) * ratio for ratio in RATIOS])
    return torch.stack([-widths, -heights, widths, heights], dim=1) / 2


def anchors(
    grids: Sequence[tuple[int, int]], padded: tuple[int, int], convention: Convention, device: torch.device
) -> list[Tensor]:
    """The anchors of all levels, each float32 [height · width · 3, 4] in the order y, x, ratio, in input pixels.

    grids: (height, width) of each level from p2 on; padded: (height, width) of the input.
    """
    found = []
    for level, (height, width) in enumerate(grids):
        stride = 4 << level
        steps = (stride, stride) if convention.fixed_steps else (padded[0] // height, padded[1] // width)
        y = torch.arange(height, dtype=torch.float32, device=device) * steps[0]
        x = torch.arange(width, dtype=torch.float32, device=device) * steps[1]
        y, x = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
        found.append((centres + cell_anchors(level, convention).to(device)).reshape(-1, 4))
    return found

"""Regions: RoIAlign in PyTorch, what lies in each box of the feature maps, as grids of one size.

Source: He et al., 2017, Mask R-CNN. A bin of the grid is the mean of bilinear samples in it, so it is a weighted sum
of the cells of the map around them. That is what `embedding_bag` computes, cells being its rows of 256 channels: many
times faster than to gather the samples first, and forty times faster still where a row lies in one piece.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from detserve.models.maskrcnn.convention import Convention

COARSEST = 3
"""The last of the maps that regions are cut from, p5, p2 being 0."""
CANONICAL_SIDE, CANONICAL_LEVEL = 224, 4
"""A box of that side is cut from that level (Lin et al., 2017, equation 1)."""
MOST_ENTRIES = 1 << 21
"""Weights of one call, which bounds its memory to some ten megabytes."""


def levels(boxes: Tensor, convention: Convention) -> Tensor:
    """The level of each box [n, 4], 0 for p2: int64 [n]."""
    sides = torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])) / CANONICAL_SIDE
    epsilon = convention.level_epsilon
    exponent = torch.log2(sides) + epsilon if convention.epsilon_outside else torch.log2(sides + epsilon)
    return (torch.floor(CANONICAL_LEVEL + exponent) - 2).clamp(0, COARSEST).to(torch.int64)


def cut(maps: Sequence[Tensor], boxes: Tensor, side: int, convention: Convention) -> Tensor:
    """The regions of boxes [n, 4] in input pixels, each from its level's map: float32 [n, side, side, channels].

    maps: p2 to p5, each [1, h, w, channels].
    """
    found = boxes.new_empty(len(boxes), side * side, maps[0].shape[3])
    chosen = levels(boxes, convention)
    for level, feature in enumerate(maps):
        rows = (chosen == level).nonzero()[:, 0]
        if len(rows):
            _fill(found, rows, feature[0], boxes[rows], side, 1 / (4 << level), convention)
    return found.view(-1, side, side, found.shape[2])


def roi_align(feature: Tensor, boxes: Tensor, side: int, scale: float, convention: Convention) -> Tensor:
    """The regions of boxes [n, 4] of one map [h, w, channels]: float32 [n, side, side, channels].

    scale: cells of the map a pixel of the boxes.
    """
    found = boxes.new_empty(len(boxes), side * side, feature.shape[2])
    _fill(found, torch.arange(len(boxes), device=boxes.device), feature, boxes, side, scale, convention)
    return found.view(-1, side, side, feature.shape[2])


def _fill(
    found: Tensor, rows: Tensor, feature: Tensor, boxes: Tensor, side: int, scale: float, convention: Convention
) -> None:
    """Write the regions of these boxes into those rows of `found`, [n, side · side, channels]."""
    height, width, channels = feature.shape
    cells = feature.reshape(height * width, channels).contiguous()
    scaled = boxes * scale - (0.5 if convention.aligned else 0.0)
    sizes = scaled[:, 2:] - scaled[:, :2]
    if not convention.aligned:
        sizes = sizes.clamp(min=1.0)
    counts = torch.ceil(sizes / side) if convention.sampling == 0 else torch.full_like(sizes, convention.sampling)
    # Samples at most a cell apart share cells: n of them lie on n + 1. Those further apart have two each.
    near = sizes / side <= counts
    kinds, kind = torch.unique(torch.cat([counts, near], dim=1).to(torch.int64), dim=0, return_inverse=True)
    for number, (samples_x, samples_y, near_x, near_y) in enumerate(kinds.tolist()):
        members = (kind == number).nonzero()[:, 0]
        if not (samples_x and samples_y):  # an empty box has no samples
            found[rows[members]] = 0
            continue
        start, size = scaled[members], sizes[members]
        x, weights_x = _axis(start[:, 0], size[:, 0], side, samples_x, width, bool(near_x))
        y, weights_y = _axis(start[:, 1], size[:, 1], side, samples_y, height, bool(near_y))
        entries = y.shape[2] * x.shape[2]
        step = max(1, MOST_ENTRIES // (side * side * entries))
        for first in range(0, len(members), step):
            part = slice(first, first + step)
            index = y[part, :, None, :, None] * width + x[part, None, :, None, :]
            weight = weights_y[part, :, None, :, None] * weights_x[part, None, :, None, :]
            bins = embedding_bag(
                index.reshape(-1, entries), cells, per_sample_weights=weight.reshape(-1, entries), mode="sum"
            )
            found[rows[members[part]]] = bins.view(-1, side * side, channels)


def _axis(start: Tensor, size: Tensor, side: int, samples: int, edge: int, near: bool) -> tuple[Tensor, Tensor]:
    """Of one axis the cells that each bin reads, int64 [n, side, cells], and their weights, float32.

    start, size: [n] in cells; samples: of a bin; edge: cells of the map. A sample further than one cell outside
    counts as 0; any other outside reads the cell at the edge.
    """
    bins = torch.arange(side, dtype=size.dtype, device=size.device)
    offsets = (torch.arange(samples, dtype=size.dtype, device=size.device) + 0.5) / samples
    bin_size = (size / side)[:, None, None]
    places = start[:, None, None] + bins[None, :, None] * bin_size + offsets * bin_size
    counts = ((places >= -1) & (places <= edge)).to(size.dtype) / samples
    places = places.clamp(0, edge - 1)
    low = places.floor()
    if near:
        cells = low[:, :, :1] + torch.arange(samples + 1, device=size.device)
        hats = (1 - (places[:, :, :, None] - cells[:, :, None, :]).abs()).clamp(min=0)
        weights = (hats * counts[..., None]).sum(dim=2)
    else:
        cells = torch.cat([low, low + 1], dim=2)
        high = places - low
        weights = torch.cat([(1 - high) * counts, high * counts], dim=2)
    # A cell beyond the last has weight 0.
    return cells.clamp(max=edge - 1).to(torch.int64), weights

"""Proposals: from the region proposal network's maps to the boxes that may hold an object.

Source: Ren et al., 2015, Faster R-CNN; on a pyramid as in Lin et al., 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from detserve.models.maskrcnn.anchors import anchors
from detserve.models.maskrcnn.boxes import apply_deltas, clip, nms
from detserve.models.maskrcnn.convention import Convention

PER_LEVEL, OVERALL = 1000, 1000
"""How many boxes are taken of each level, and stay of all."""
OVERLAP = 0.7


class Proposals(NamedTuple):
    """Boxes float32 [n, 4] in input pixels, best first, and the logits float32 [n] that they are ranked by."""

    boxes: Tensor
    logits: Tensor


def propose(
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    padded: tuple[int, int],
    inner: tuple[int, int],
    convention: Convention,
) -> Proposals:
    """The best boxes of one picture.

    logits [1, 3, h, w] and deltas [1, 12, h, w] of each level from p2 on; padded: (height, width) of the input; inner:
    (width, height) of the picture on it, to which boxes are clipped.
    """
    grids = [(each.shape[2], each.shape[3]) for each in logits]
    boxes, ranks = [], []
    starts = anchors(grids, padded, convention, logits[0].device)
    for level_logits, level_deltas, level_anchors in zip(logits, deltas, starts, strict=True):
        height, width = level_logits.shape[2:]
        scores = level_logits[0].permute(1, 2, 0).reshape(-1)
        moves = level_deltas[0].view(-1, 4, height, width).permute(2, 3, 0, 1).reshape(-1, 4)
        best = scores.topk(min(PER_LEVEL, len(scores))).indices
        found = clip(apply_deltas(level_anchors[best], moves[best], (1.0, 1.0)), inner)
        sides = found[:, 2:] - found[:, :2]
        least = convention.least_proposal
        large = ((sides >= least) if least else (sides > 0)).all(dim=1)
        found, scores = found[large], scores[best][large]
        stays = nms(found, OVERLAP)
        boxes.append(found[stays])
        ranks.append(scores[stays])
    all_boxes, all_ranks = torch.cat(boxes), torch.cat(ranks)
    # torchvision compares probabilities, where large logits are equal; a stable sort keeps their order then.
    keys = all_ranks.sigmoid() if convention.name == "torchvision" else all_ranks
    best = keys.argsort(descending=True, stable=True)[:OVERALL]
    return Proposals(all_boxes[best], all_ranks[best])

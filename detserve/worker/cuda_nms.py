"""Non-maximum suppression of a whole batch in PyTorch: no loop over boxes, and nothing leaves the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 8
"""The longest chain of boxes that suppress one another that is followed on the GPU."""
KEPT, DROPPED, OPEN = 1.0, 0.0, -1.0
"""What `suppress` says of a box. All valid ones of a picture are open when its chains are longer than `ROUNDS`."""


def suppress(boxes: Tensor, valid: Tensor, threshold: Tensor) -> Tensor:
    """The fate of each box: float32 [n, k] of KEPT, DROPPED and OPEN.

    boxes [n, k, 4] corners x1, y1, x2, y2, best score first; valid bool [n, k]; threshold [n], each picture's IoU. A
    box is dropped when its IoU with a better one that is kept is greater than the threshold.

    Greedy suppression by fixed-point iteration (Cluster-NMS, Zheng et al., arXiv 2005.03572): at first all boxes are
    kept; each round drops those that overlap a better one which the round before kept, until nothing changes. Each
    round settles one more link of the longest chain, so a picture that the last round did not change has the result of
    the greedy algorithm.
    """
    k = boxes.shape[1]
    better = torch.ones(k, k, dtype=torch.bool, device=boxes.device).triu(1)
    over = (_iou(boxes) > threshold[:, None, None]) & better & valid[:, :, None] & valid[:, None, :]
    kept = before = valid
    for _ in range(ROUNDS):
        before, kept = kept, valid & ~(over & kept[:, :, None]).any(dim=1)
    settled = (before == kept).all(dim=1, keepdim=True)
    return torch.where(settled | ~valid, kept.float(), OPEN)


def _iou(boxes: Tensor) -> Tensor:
    """[n, k, 4] → [n, k, k]; empty boxes give 0."""
    top_left = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    bottom_right = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    inner = (bottom_right - top_left).clamp(min=0).prod(dim=3)
    area = (boxes[:, :, 2:] - boxes[:, :, :2]).prod(dim=2)
    union = area[:, :, None] + area[:, None, :] - inner
    return torch.where(union > 0, inner / union, torch.zeros_like(inner))

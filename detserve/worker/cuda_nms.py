"""Non-maximum suppression of a whole batch in PyTorch: no loop over boxes, and nothing leaves the GPU."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

ROUNDS = 8
"""The longest chain of boxes that suppress one another that is followed on the GPU."""
KEPT, DROPPED, OPEN = 1.0, 0.0, -1.0
"""What `suppress` says of a box. All valid ones of a picture are open when its chains are longer than `ROUNDS`, or when
there are more of them than `MOST_COMPARED`."""
MOST_COMPARED = 300
"""How many of a picture's boxes, the best, are compared with one another on the GPU: their pairs are a twelfth of those
of all candidates, and what takes time here is moving them through the GPU's memory."""


def suppress(boxes: Tensor, valid: Tensor, threshold: Tensor) -> Tensor:
    """The fate of each box: float32 [n, k] of KEPT, DROPPED and OPEN.

    boxes [n, k, 4] corners x1, y1, x2, y2, best score first; valid bool [n, k]; threshold [n], each picture's IoU. A
    box is dropped when its IoU with a better one that is kept is greater than the threshold.

    Greedy suppression by fixed-point iteration (Cluster-NMS, Zheng et al., arXiv 2005.03572): at first all boxes are
    kept; each round drops those that overlap a better one which the round before kept, until nothing changes. Each
    round settles one more link of the longest chain, so a picture that the last round did not change has the result of
    the greedy algorithm.
    """
    k = min(MOST_COMPARED, boxes.shape[1])
    more = valid[:, k:].any(dim=1, keepdim=True)
    better = torch.ones(k, k, dtype=torch.bool, device=boxes.device).triu(1)
    first = valid[:, :k]
    over = _overlap(boxes[:, :k], threshold) & better & first[:, :, None] & first[:, None, :]
    kept = before = first
    for _ in range(ROUNDS):
        before, kept = kept, first & ~(over & kept[:, :, None]).any(dim=1)
    settled = (before == kept).all(dim=1, keepdim=True) & ~more
    fate = pad(kept.float(), (0, boxes.shape[1] - k), value=DROPPED)
    return torch.where(settled | ~valid, fate, OPEN)


def _overlap(boxes: Tensor, threshold: Tensor) -> Tensor:
    """Which pairs overlap by an IoU above their picture's threshold: [n, k, 4], [n] → bool [n, k, k].

    Without a division, and an axis at a time: what is moved through the GPU's memory is what this takes.
    """
    x1, y1, x2, y2 = boxes.unbind(2)
    width = (torch.minimum(x2[:, :, None], x2[:, None]) - torch.maximum(x1[:, :, None], x1[:, None])).clamp_(min=0)
    height = (torch.minimum(y2[:, :, None], y2[:, None]) - torch.maximum(y1[:, :, None], y1[:, None])).clamp_(min=0)
    inner = width.mul_(height)
    area = (x2 - x1) * (y2 - y1)
    union = (area[:, :, None] + area[:, None]).sub_(inner)
    return inner > union.mul_(threshold[:, None, None])

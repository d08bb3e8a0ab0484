"""Stages: from one canvas to its objects, the networks and what lies between them in their order.

Source: He et al., 2017, Mask R-CNN. All in PyTorch, so that on a GPU nothing leaves it between the networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from detserve.models.maskrcnn.boxes import apply_deltas, clip, nms
from detserve.models.maskrcnn.convention import Convention
from detserve.models.maskrcnn.network import BOX_SIDE, MASK_SIDE
from detserve.models.maskrcnn.proposals import Proposals, propose
from detserve.models.maskrcnn.regions import cut
from detserve.models.parts import Wish

if TYPE_CHECKING:
    from detserve.models.parts import Run

PYRAMID_LEVELS = 4
BOX_WEIGHTS = (10.0, 5.0)
"""What the box head's deltas of centres and of sides are divided by."""
BOXES_AT_ONCE, MASKS_AT_ONCE = 250, 25
"""Regions that go through a head together: a thousand take fifty megabytes, and as much again in each layer's copy."""


class Found(NamedTuple):
    """n objects of one picture, best first.

    boxes: float32 [n, 4] in input pixels; scores: float32 [n]; columns: int64 [n], 0 being the first category; masks:
    float32 [n, 28, 28], probabilities over each box, where they are wanted.
    """

    boxes: Tensor
    scores: Tensor
    columns: Tensor
    masks: Tensor | None


def detect(run: Mapping[str, Run], canvas: Tensor, inner: tuple[int, int], rules: Convention, wish: Wish) -> Found:
    """The objects on one canvas, uint8 [1, height, width, channels]; inner: (width, height) of the picture on it."""
    outputs = run["features"](canvas)
    maps, heads = outputs[:PYRAMID_LEVELS], outputs[PYRAMID_LEVELS:]
    half = len(heads) // 2
    proposals = propose(heads[:half], heads[half:], (canvas.shape[1], canvas.shape[2]), inner, rules)
    parts = [
        run["boxes"](cut(maps, proposals.boxes[i : i + BOXES_AT_ONCE], BOX_SIDE, rules))
        for i in range(0, max(1, len(proposals.boxes)), BOXES_AT_ONCE)
    ]
    scores, deltas = (torch.cat(column) for column in zip(*parts, strict=True))
    boxes, confidences, columns = select(proposals, scores, deltas, inner, rules, wish)
    if not wish.masks:
        return Found(boxes, confidences, columns, None)
    masks = [
        _own(run["masks"](cut(maps, boxes[part], MASK_SIDE, rules))[0], columns[part], rules)
        for part in (slice(i, i + MASKS_AT_ONCE) for i in range(0, len(boxes), MASKS_AT_ONCE))
    ]
    empty = boxes.new_zeros(0, 2 * MASK_SIDE, 2 * MASK_SIDE)
    return Found(boxes, confidences, columns, torch.cat(masks) if masks else empty)


def select(
    proposals: Proposals, logits: Tensor, deltas: Tensor, inner: tuple[int, int], rules: Convention, wish: Wish
) -> tuple[Tensor, Tensor, Tensor]:
    """What stays of the proposals: boxes [k, 4], scores [k] and columns [k], best first.

    logits: [n, columns], the background among them; deltas: [n, 4 · columns], without it for detectron2.
    """
    probabilities = logits.softmax(dim=1)
    moves = deltas.view(len(deltas), -1, 4)
    moved = clip(apply_deltas(proposals.boxes[:, None], moves, BOX_WEIGHTS), inner)
    if rules.background == "first":
        probabilities, moved = probabilities[:, 1:], moved[:, 1:]
    else:
        probabilities = probabilities[:, :-1]
    rows, columns = (probabilities > wish.conf).nonzero(as_tuple=True)
    boxes, scores = moved[rows, columns], probabilities[rows, columns]
    if rules.least_box:
        large = (boxes[:, 2:] - boxes[:, :2] >= rules.least_box).all(dim=1)
        boxes, scores, columns = boxes[large], scores[large], columns[large]
    order = scores.argsort(descending=True, stable=True)
    stays = order[nms(boxes[order], wish.iou, columns[order], wish.most)]
    return boxes[stays], scores[stays], columns[stays]


def _own(logits: Tensor, columns: Tensor, rules: Convention) -> Tensor:
    """Of each region's maps, [n, columns, 28, 28], the one of its class, as probabilities: [n, 28, 28]."""
    rows = torch.arange(len(logits), device=logits.device)
    return logits[rows, columns + rules.first_label].sigmoid()

"""Convention: all in which torchvision's Mask R-CNN and detectron2's differ, though their layers fit one to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from detserve.core.masks import Paste


@dataclass(frozen=True, kw_only=True)
class Convention:
    """One of the two.

    stride_in_3x3: which convolution of a bottleneck strides, else the first 1x1; rounded_anchors: half sides in whole
    pixels; fixed_steps: an anchor's step is its level's stride, else the padded side // the grid's side; aligned:
    RoIAlign subtracts half a pixel and knows no least side; sampling: its samples a bin and axis, 0 for one a pixel;
    level_epsilon: added to √area / 224 before the logarithm, or (outside) after it; least_proposal, least_box: sides in
    pixels, inclusive where positive, else any above 0 (proposals) or none (boxes); background: the column of it in the
    class scores; half_up: sides of the input are rounded, else cut; pillow: pictures are resized by Pillow's triangle
    filter, else bilinear; paste: see `Masks`.
    """

    name: Literal["torchvision", "detectron2"]
    stride_in_3x3: bool
    rounded_anchors: bool
    fixed_steps: bool
    aligned: bool
    sampling: int
    level_epsilon: float
    epsilon_outside: bool
    least_proposal: float
    least_box: float
    background: Literal["first", "last"]
    half_up: bool
    pillow: bool
    paste: Paste

    @property
    def first_label(self) -> int:
        """The column of the first category in the class scores."""
        return 1 if self.background == "first" else 0


TORCHVISION = Convention(
    name="torchvision",
    stride_in_3x3=True,
    rounded_anchors=True,
    fixed_steps=False,
    aligned=False,
    sampling=2,
    level_epsilon=1e-6,
    epsilon_outside=True,
    least_proposal=1e-3,
    least_box=1e-2,
    background="first",
    half_up=False,
    pillow=False,
    paste="whole",
)
DETECTRON2 = Convention(
    name="detectron2",
    stride_in_3x3=False,
    rounded_anchors=False,
    fixed_steps=True,
    aligned=True,
    sampling=0,
    level_epsilon=1e-8,
    epsilon_outside=False,
    least_proposal=0,
    least_box=0,
    background="last",
    half_up=True,
    pillow=True,
    paste="exact",
)
CONVENTIONS = {each.name: each for each in (TORCHVISION, DETECTRON2)}

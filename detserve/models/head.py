"""Head: what the decode of a family's outputs in PyTorch gives, for engines on a GPU.

A head works on whole maps and keeps the best candidates, so that all its shapes are fixed and CUDA can record it; the
decode in numpy beside it touches only the cells above the threshold, which is what a processor is fast at.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

CANDIDATES = 1024
"""How many candidates of a picture reach non-maximum suppression, the best by score."""


class Candidates(NamedTuple):
    """boxes [n, k, 4] and points [n, k, 5, 2] in pixels of the input, scores [n, k], best first; all float32."""

    boxes: Tensor
    scores: Tensor
    points: Tensor

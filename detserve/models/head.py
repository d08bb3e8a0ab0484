"""Head: the decode of a family in PyTorch, for engines on a GPU. This is what every head returns.

A head works on whole maps and keeps the best candidates. So all its shapes are fixed, and CUDA can record it. The
decode in numpy touches only the cells above the threshold, which is faster on a processor.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

CANDIDATES = 1024
"""How many candidates of a picture reach non-maximum suppression: the best by score."""


class Candidates(NamedTuple):
    """boxes [n, k, 4] and points [n, k, 5, 2] in pixels of the input, scores [n, k], best first; all float32."""

    boxes: Tensor
    scores: Tensor
    points: Tensor

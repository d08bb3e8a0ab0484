"""CenterFace's decode in PyTorch, for an engine on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detserve.models.centerface.layout import STRIDE
from detserve.models.head import CANDIDATES, Candidates


class CenterFaceHead(nn.Module):
    """The decode of `detserve.models.centerface.decode`. size: (width, height) of the input in pixels."""

    limit: Tensor

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("limit", torch.tensor(size, dtype=torch.float32))

    def forward(self, outputs: tuple[Tensor, ...]) -> Candidates:
        """Heatmap [n, 1, h, w], scale and offset [n, 2, h, w], landmarks [n, 10, h, w] → candidates."""
        heatmap, scale, offset, landmarks = (output.float().flatten(2) for output in outputs)
        scores, cell = heatmap[:, 0].topk(min(CANDIDATES, heatmap.shape[2]))
        width = outputs[0].shape[3]

        def at(maps: Tensor) -> Tensor:
            """[n, c, cells] → [n, k, c] at the chosen cells."""
            return maps.gather(2, cell[:, None].expand(-1, maps.shape[1], -1)).transpose(1, 2)

        side = STRIDE * at(scale).flip(2).exp()
        place = torch.stack((cell % width, cell // width), dim=2)
        centre = (place + at(offset).flip(2) + 0.5) * STRIDE
        start = torch.minimum((centre - side / 2).clamp(min=0), self.limit)
        end = torch.minimum(start + side, self.limit)
        points = at(landmarks).reshape(len(cell), -1, 5, 2).flip(3) * side[:, :, None] + start[:, :, None]
        return Candidates(torch.cat((start, end), dim=2), scores, points)

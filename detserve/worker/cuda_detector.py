"""CudaDetector: everything from the decoded picture to its detections on the GPU, by one CUDA graph per batch size.

Pictures are uploaded as bytes and letterboxed there. The graph is normalisation, network, decode and suppression, which
need nothing from the processor; one copy brings the candidates of the whole batch back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from detserve.core.detections import Detections, Floats, Pixels
from detserve.core.geometry import nms
from detserve.core.letterbox import Letterbox
from detserve.engines.base import detector_spec
from detserve.engines.torch_device import TorchEngine
from detserve.options import Options
from detserve.worker.cuda_nms import KEPT, OPEN, suppress

if TYPE_CHECKING:
    from detserve.engines.torch_device import Module

WARM_UP = 3
"""Runs before a graph is recorded: libraries choose their kernels and allocate in the first ones."""


class CudaDetector:
    """A detector with a head in PyTorch, on an engine of PyTorch's tensors.

    It works on the processor too, without graphs. So it can be compared with `HostDetector` where there is no GPU.
    """

    def __init__(self, engine: TorchEngine, head: nn.Module) -> None:
        self.engine, self.spec, self.device = engine, detector_spec(engine), engine.device
        head = head.to(self.device)
        self.steps: dict[int, Callable[[Tensor, Tensor], Tensor]] = {}
        for n in batch_sizes(engine.chunk):
            step = _Step(engine.replica(), head)
            self.steps[n] = _Graph(step, self.canvases(n, self.spec.size)) if engine.recordable else step

    def canvases(self, n: int, size: tuple[int, int]) -> Tensor:
        """Room for n pictures of that (width, height) on the device."""
        return torch.zeros(n, size[1], size[0], 3, dtype=torch.uint8, device=self.device)

    def draw(self, rgb: Pixels, letterbox: Letterbox, canvas: Tensor) -> None:
        """Upload a picture and letterbox it there, see `apply`."""
        with torch.inference_mode():
            apply(letterbox, torch.from_numpy(np.ascontiguousarray(rgb)).to(self.device), canvas, self.spec.fill)

    def infer(self, canvases: Tensor, options: Sequence[Options]) -> Floats:
        """Everything that the GPU does → float32 [n, k, 6 + 2 points], for each candidate box, score, fate, points.

        fate: see `suppress`.
        """
        thresholds = torch.tensor([(o.conf_threshold, o.iou_threshold) for o in options], dtype=torch.float32).to(
            self.device
        )
        parts = []
        with torch.inference_mode():
            for start in range(0, len(canvases), self.engine.chunk):
                some = slice(start, start + self.engine.chunk)
                parts.append(self._run(canvases[some], thresholds[some]))
        return np.concatenate(parts)

    def _run(self, pixels: Tensor, thresholds: Tensor) -> Floats:
        """At most `chunk` pictures, padded to the next batch size that has a graph."""
        n = len(pixels)
        size = next(size for size in self.steps if size >= n)
        if size > n:
            pixels = torch.cat((pixels, pixels[:1].expand(size - n, -1, -1, -1)))
            thresholds = torch.cat((thresholds, thresholds[:1].expand(size - n, -1)))
        rows: Floats = self.steps[size](pixels, thresholds)[:n].cpu().numpy()
        return rows

    def found(self, raw: Floats, options: Sequence[Options]) -> list[Detections]:
        """The candidates that are kept. Where the GPU left a picture open, it is suppressed here."""
        return [_detections(rows, picture.iou_threshold) for rows, picture in zip(raw, options, strict=True)]

    def maps(self, canvases: Tensor, raw: Floats) -> dict[str, Floats]:
        """The score maps, from a run of their own: a usual run leaves the network's outputs on the GPU."""
        return self.spec.maps(self.engine(canvases.cpu().numpy()))


def batch_sizes(most: int) -> list[int]:
    """The sizes that graphs are recorded for: the powers of two below the largest batch, and the largest itself."""
    return [1 << i for i in range(most.bit_length()) if 1 << i < most] + [most]


def apply(letterbox: Letterbox, rgb: Tensor, out: Tensor, fill: int) -> None:
    """`Letterbox.apply` on tensors: uint8 [h, w, 3] onto uint8 [H, W, 3], bilinear, the same within one grey level."""
    width, height = letterbox.inner
    out.fill_(fill)
    inside = out[letterbox.top : letterbox.top + height, letterbox.left : letterbox.left + width]
    if rgb.shape == inside.shape:
        inside.copy_(rgb)
    else:
        scaled = interpolate(rgb.permute(2, 0, 1)[None].float(), (height, width), mode="bilinear")
        inside.copy_(scaled[0].permute(1, 2, 0).round())


class _Step:
    """What the GPU does with a batch: pixels [n, h, w, 3], thresholds [n, 2] of conf and IoU → rows."""

    def __init__(self, network: Module, head: nn.Module) -> None:
        self.network, self.head = network, head

    def __call__(self, pixels: Tensor, thresholds: Tensor) -> Tensor:
        boxes, scores, points = self.head(self.network(pixels))
        conf, iou = thresholds.unbind(1)
        fate = suppress(boxes, scores > conf[:, None], iou)
        return torch.cat((boxes, scores[:, :, None], fate[:, :, None], points.flatten(2)), dim=2)


class _Graph:
    """A step recorded for one batch size. Its inputs and its result keep their addresses, and a run is one launch."""

    def __init__(self, step: _Step, pixels: Tensor) -> None:
        self.pixels = pixels
        self.thresholds = torch.full((len(pixels), 2), 0.5, device=pixels.device)
        stream = torch.cuda.Stream(pixels.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode():
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    step(self.pixels, self.thresholds)
            torch.cuda.current_stream().wait_stream(stream)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.rows = step(self.pixels, self.thresholds)

    def __call__(self, pixels: Tensor, thresholds: Tensor) -> Tensor:
        self.pixels.copy_(pixels)
        self.thresholds.copy_(thresholds)
        self.graph.replay()
        return self.rows


def _detections(rows: Floats, iou: float) -> Detections:
    """The rows of one picture that are kept. Where the GPU left one open, it left open all above the threshold."""
    fate = rows[:, 5]
    undecided = bool((fate == OPEN).any())
    rows = rows[fate == (OPEN if undecided else KEPT)]
    boxes, scores, points = (
        rows[:, :4].copy(),
        rows[:, 4].copy(),
        rows[:, 6:].reshape(-1, (rows.shape[1] - 6) // 2, 2).copy(),
    )
    found = Detections(boxes, scores, points)
    return found[nms(boxes, scores, iou)] if undecided else found

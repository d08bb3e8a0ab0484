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
from detserve.engines.torch_device import TorchEngine, upload
from detserve.errors import EngineRejected
from detserve.options import Options
from detserve.worker.cuda_nms import KEPT, OPEN, suppress

if TYPE_CHECKING:
    from detserve.engines.torch_device import Module

WARM_UP = 5
"""Runs before a graph is recorded: libraries choose their kernels and allocate in the first ones, and TorchScript's
compiler needs two or three."""
SAME_SCORE = 1e-3
"""Scores that differ by less may come in another order when a step runs again."""


class CudaDetector:
    """A detector with a head in PyTorch, on an engine of PyTorch's tensors.

    It works on the processor too, without graphs. So it can be compared with `HostDetector` where there is no GPU.
    """

    def __init__(self, engine: TorchEngine, head: nn.Module) -> None:
        self.engine, self.spec, self.device = engine, detector_spec(engine), engine.device
        head = head.to(self.device)
        self.steps: dict[int, Callable[[Tensor, Tensor], Tensor]] = {}
        recorder = _Recorder(self.device) if engine.recordable else None
        for n in batch_sizes(engine.chunk):
            # Where nothing is recorded one module does for all sizes, and TensorRT 8 has no second context to give.
            step = _Step(engine.replica() if recorder else engine.module, head)
            self.steps[n] = _Graph(step, self.canvases(n, self.spec.size), recorder) if recorder else step

    def canvases(self, n: int, size: tuple[int, int]) -> Tensor:
        """Room for n pictures of that (width, height) on the device."""
        return torch.zeros(n, size[1], size[0], 3, dtype=torch.uint8, device=self.device)

    def draw(self, rgb: Pixels, letterbox: Letterbox, canvas: Tensor) -> None:
        """Upload a picture and letterbox it there, see `apply`; on a GPU this returns before it is done."""
        with torch.inference_mode():
            apply(letterbox, upload(torch.from_numpy(np.ascontiguousarray(rgb)), self.device), canvas, self.spec.fill)

    def infer(self, canvases: Tensor, options: Sequence[Options]) -> Floats:
        """Everything that the GPU does → float32 [n, k, 6 + 2 points], for each candidate box, score, fate, points.

        fate: see `suppress`.
        """
        asked = torch.tensor([(o.conf_threshold, o.iou_threshold) for o in options], dtype=torch.float32)
        thresholds = upload(asked, self.device)
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
    """`Letterbox.apply` on tensors: uint8 [h, w, 3] onto uint8 [H, W, 3], the same within one grey level."""
    width, height = letterbox.inner
    out.fill_(fill)
    inside = out[letterbox.top : letterbox.top + height, letterbox.left : letterbox.left + width]
    if rgb.shape == inside.shape:
        inside.copy_(rgb)
    else:
        how = "bicubic" if letterbox.reduced(rgb.shape) else "bilinear"
        scaled = interpolate(rgb.permute(2, 0, 1)[None].float(), (height, width), mode=how)
        inside.copy_(scaled[0].permute(1, 2, 0).round().clamp(0, 255))


class _Step:
    """What the GPU does with a batch: pixels [n, h, w, 3], thresholds [n, 2] of conf and IoU → rows."""

    def __init__(self, network: Module, head: nn.Module) -> None:
        self.network, self.head = network, head

    def __call__(self, pixels: Tensor, thresholds: Tensor) -> Tensor:
        boxes, scores, points = self.head(self.network(pixels))
        conf, iou = thresholds.unbind(1)
        fate = suppress(boxes, scores > conf[:, None], iou)
        return torch.cat((boxes, scores[:, :, None], fate[:, :, None], points.flatten(2)), dim=2)


class _Recorder:
    """What the graphs of a detector share: the stream they are recorded on, and a pool of memory.

    They never run at the same time, and what one leaves is copied away before the next starts, so that each may use
    what the others need in between.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()


class _Graph:
    """A step recorded for one batch size: its inputs and its result stay where they are, a run is one launch.

    Raises EngineRejected where the recorded run gives something else than the step itself: a library that refused a
    call, or used another stream, leaves a graph that lacks it and says nothing.
    """

    def __init__(self, step: _Step, pixels: Tensor, recorder: _Recorder) -> None:
        self.pixels = pixels.random_(0, 256)  # noise, so that the two runs have something to differ in
        self.thresholds = torch.full((len(pixels), 2), 0.5, device=pixels.device)
        recorder.stream.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode():
            with torch.cuda.stream(recorder.stream):
                for _ in range(WARM_UP):
                    wanted = step(self.pixels, self.thresholds)
            torch.cuda.current_stream().wait_stream(recorder.stream)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, pool=recorder.pool, stream=recorder.stream):
                self.rows = step(self.pixels, self.thresholds)
            self.rows.fill_(torch.nan)
            self.graph.replay()
            if not agree(self.rows, wanted):
                raise EngineRejected(
                    f"a recorded run of {len(pixels)} pictures differs from the run itself; "
                    "TensorRT's or CUDA's words stand above; pack with --backend torchscript to do without TensorRT"
                )

    def __call__(self, pixels: Tensor, thresholds: Tensor) -> Tensor:
        self.pixels.copy_(pixels)
        self.thresholds.copy_(thresholds)
        self.graph.replay()
        return self.rows


def agree(rows: Tensor, wanted: Tensor) -> bool:
    """Whether two runs of a step on the same pictures gave the same candidates, float32 [n, k, 6 + 2 points] each.

    Scores row by row; boxes where no neighbour has nearly the same score, as candidates of equal scores may change
    places.
    """
    scores = wanted[:, :, 4]
    apart = (scores[:, :-1] - scores[:, 1:]).abs() > SAME_SCORE
    edge = apart.new_ones(len(apart), 1)
    alone = torch.cat((edge, apart), dim=1) & torch.cat((apart, edge), dim=1)
    same = torch.isclose(rows[:, :, :5], wanted[:, :, :5], rtol=1e-2, atol=1e-2)
    return bool(same[:, :, 4].all()) and bool((same.all(dim=2) | ~alone).all())


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

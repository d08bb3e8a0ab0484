"""Pipeline: the only place that states the order of the stages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detserve.backends.base import Backend
from detserve.detections import Detections, Pixels
from detserve.errors import RequestError
from detserve.geometry import nms
from detserve.images import decode
from detserve.letterbox import Letterbox
from detserve.options import Options
from detserve.spec import ModelSpec

Item = tuple[bytes | bytearray, Options]
"""One request: the picture's bytes and its options."""


@dataclass(frozen=True)
class Timings:
    """Milliseconds of each stage: decode of this picture, inference and post-processing of its whole batch."""

    decode: float = 0.0
    infer: float = 0.0
    post: float = 0.0


@dataclass(frozen=True)
class Result:
    """What became of one request: detections in pixels of the upright picture, or an error; and how long it took.

    size: (width, height) of the upright picture; None when it could not be decoded.
    """

    outcome: Detections | RequestError
    size: tuple[int, int] | None = None
    timings: Timings = Timings()


@dataclass(frozen=True)
class _Placed:
    """A picture that lies on the batch: where, what was asked of it, and how long its decode took."""

    letterbox: Letterbox
    options: Options
    decode_ms: float


class Pipeline:
    """Pictures in, detections out, in batches: one model on one engine."""

    def __init__(self, spec: ModelSpec, engine: Backend, max_pixels: int) -> None:
        self.spec = spec
        self.engine = engine
        self.max_pixels = max_pixels

    def __call__(self, items: Sequence[Item | RequestError]) -> list[Result]:
        """Run a batch of requests → one result each, in the same order.

        A request that is an error already, or whose picture cannot be decoded, gives that error as its result and
        leaves the others alone.
        """
        width, height = self.spec.size
        batch = np.empty((len(items), height, width, 3), np.uint8)
        placed: list[_Placed | Result] = []
        count = 0
        for item in items:
            # One decoded picture at a time: a batch of large ones would not fit the memory.
            entry = Result(item) if isinstance(item, RequestError) else self._place(item, batch[count])
            count += isinstance(entry, _Placed)
            placed.append(entry)
        results = iter(self._detect(batch[:count], [entry for entry in placed if isinstance(entry, _Placed)]))
        return [next(results) if isinstance(entry, _Placed) else entry for entry in placed]

    def _place(self, item: Item, canvas: Pixels) -> _Placed | Result:
        data, options = item
        start = time.perf_counter()
        try:
            image = decode(data, self.max_pixels)
        except RequestError as error:
            return Result(error, timings=Timings(decode=_ms_since(start)))
        letterbox = self.spec.letterbox(image.size)
        letterbox.apply(image.rgb, canvas, self.spec.fill)
        return _Placed(letterbox, options, _ms_since(start))

    def _detect(self, batch: Pixels, placed: list[_Placed]) -> list[Result]:
        if not placed:
            return []
        start = time.perf_counter()
        outputs = self.engine(batch)
        infer_ms = _ms_since(start)
        start = time.perf_counter()
        candidates = self.spec.decode(outputs, [picture.options.conf for picture in placed])
        found = [_finish(*pair) for pair in zip(candidates, placed, strict=True)]
        post_ms = _ms_since(start)
        return [
            Result(detections, picture.letterbox.picture, Timings(picture.decode_ms, infer_ms, post_ms))
            for detections, picture in zip(found, placed, strict=True)
        ]


def _finish(candidates: Detections, picture: _Placed) -> Detections:
    """Candidates in letterbox pixels → what is answered, in pixels of the upright picture, best first."""
    options = picture.options
    found = candidates[nms(candidates.boxes, candidates.scores, options.iou)]
    found = picture.letterbox.invert_detections(found)
    side = (found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1)
    # A box that lies in the padding alone is clipped to nothing: drop it whatever was asked.
    large_enough = (side > 0) & (side >= options.min_size * min(picture.letterbox.picture))
    return found[large_enough][: options.max_detections]


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000

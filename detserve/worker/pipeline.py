"""Pipeline: the only place that states the order of the stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from detserve.engines.base import Engine
from detserve.core.detections import Detections, Floats
from detserve.worker.detector import Detector, detector_spec
from detserve.errors import RequestError
from detserve.core.geometry import nms
from detserve.pictures.decode import decode
from detserve.core.letterbox import Letterbox
from detserve.options import Options
from detserve.models.spec import DetectorSpec
from detserve.text.order import reading

if TYPE_CHECKING:
    from detserve.worker.reader import Reader

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

    size: (width, height) of the upright picture; None when it could not be decoded; maps: score maps over the
    picture's area where they were asked for, float32 [h, w].
    """

    outcome: Detections | RequestError
    size: tuple[int, int] | None = None
    timings: Timings = Timings()
    maps: Mapping[str, Floats] | None = None


class Pipeline(Protocol):
    """Pictures in, detections out."""

    spec: DetectorSpec

    def __call__(self, items: Sequence[Item | RequestError]) -> list[Result]:
        """Run a batch of requests → one result each, in the same order.

        A request that is an error already, or whose picture cannot be decoded, gives that error as its result and
        leaves the others alone.
        """


@dataclass(frozen=True)
class _Placed:
    """A picture that lies on the batch: where, what was asked of it, and how long its decode took."""

    letterbox: Letterbox
    options: Options
    decode_ms: float


class BatchPipeline:
    """Inputs of one size: the pictures of a batch go through the engine together."""

    def __init__(self, detector: Detector, max_pixels: int, reduced_decode: bool = True) -> None:
        self.detector, self.spec = detector, detector.spec
        self.max_pixels = max_pixels
        self.enough = _inner_size(self.spec) if reduced_decode else None

    def __call__(self, items: Sequence[Item | RequestError]) -> list[Result]:
        """Decode and letterbox each picture, infer all, finish each."""
        batch = self.detector.batch(len(items))
        placed: list[_Placed | Result] = []
        count = 0
        for item in items:
            # One decoded picture at a time: a batch of large ones would not fit the memory.
            entry = Result(item) if isinstance(item, RequestError) else self._place(item, batch[count])
            count += isinstance(entry, _Placed)
            placed.append(entry)
        results = iter(self._detect(batch[:count], [entry for entry in placed if isinstance(entry, _Placed)]))
        return [next(results) if isinstance(entry, _Placed) else entry for entry in placed]

    def _place(self, item: Item, canvas: Any) -> _Placed | Result:
        data, options = item
        start = time.perf_counter()
        try:
            image = decode(data, self.max_pixels, self.enough)
        except RequestError as error:
            return Result(error.bare(), timings=Timings(decode=_ms_since(start)))
        letterbox = self.spec.letterbox(image.size)
        self.detector.draw(image.rgb, letterbox, canvas)
        return _Placed(letterbox, options, _ms_since(start))

    def _detect(self, batch: Any, placed: list[_Placed]) -> list[Result]:
        if not placed:
            return []
        options = [picture.options for picture in placed]
        start = time.perf_counter()
        raw = self.detector.infer(batch, options)
        infer_ms = _ms_since(start)
        start = time.perf_counter()
        found = [
            _finish(d, p.letterbox, p.options) for d, p in zip(self.detector.found(raw, options), placed, strict=True)
        ]
        post_ms = _ms_since(start)
        maps = self.detector.maps(batch, raw) if any(picture.maps for picture in options) else {}
        return [
            Result(
                detections,
                picture.letterbox.picture,
                Timings(picture.decode_ms, infer_ms, post_ms),
                _maps(maps, i, picture.letterbox) if picture.options.maps else None,
            )
            for i, (detections, picture) in enumerate(zip(found, placed, strict=True))
        ]


class ReadingPipeline:
    """Inputs of a size for each picture: one after the other, text found, put in reading order, and read."""

    def __init__(self, detector: Engine, reader: Reader | None, max_pixels: int, reduced_decode: bool = True) -> None:
        self.engine, self.spec = detector, detector_spec(detector)
        self.reader = reader
        self.max_pixels = max_pixels
        # What is read is cut out of the whole picture.
        self.enough = _inner_size(self.spec) if reduced_decode and not reader else None

    def __call__(self, items: Sequence[Item | RequestError]) -> list[Result]:
        """Each request by itself."""
        return [Result(item) if isinstance(item, RequestError) else self._one(*item) for item in items]

    def _one(self, data: bytes | bytearray, options: Options) -> Result:
        start = time.perf_counter()
        try:
            image = decode(data, self.max_pixels, self.enough)
        except RequestError as error:
            return Result(error.bare(), timings=Timings(decode=_ms_since(start)))
        letterbox = self.spec.letterbox(image.size)
        canvas = letterbox.laid(image.rgb, self.spec.fill)[None]
        decode_ms = _ms_since(start)
        start = time.perf_counter()
        outputs = self.engine(canvas) if options.detect else {}
        infer_ms = _ms_since(start)
        start = time.perf_counter()
        if options.detect:
            (candidates,) = self.spec.decode(outputs, [options.conf])
            found = _finish(candidates[nms(candidates.boxes, candidates.scores, options.iou)], letterbox, options)
        else:
            found = _whole(image.size)
        post_ms = _ms_since(start)
        if self.reader and found.quads is not None:
            start = time.perf_counter()
            found = self.reader(image.rgb, found[reading(found.quads)], options.split_words)
            infer_ms += _ms_since(start)
        maps = _maps(self.spec.maps(outputs), 0, letterbox) if options.maps and options.detect else None
        return Result(found, image.size, Timings(decode_ms, infer_ms, post_ms), maps)


def _inner_size(spec: DetectorSpec) -> Callable[[tuple[int, int]], tuple[int, int]]:
    return lambda picture: spec.letterbox(picture).inner


def _finish(found: Detections, letterbox: Letterbox, options: Options) -> Detections:
    """What was found, in letterbox pixels → what is answered, in pixels of the upright picture, best first."""
    found = letterbox.invert_detections(found)
    side = (found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1)
    # A box that lies in the padding alone is clipped to nothing: drop it whatever was asked.
    large_enough = (side > 0) & (side >= options.min_size * min(letterbox.picture))
    return found[large_enough][: options.max_detections]


def _maps(maps: Mapping[str, Floats], i: int, letterbox: Letterbox) -> dict[str, Floats]:
    """The score maps of picture i of a batch, the padding cut off."""
    return {name: letterbox.cut(values[i]) for name, values in maps.items()}


def _whole(size: tuple[int, int]) -> Detections:
    """The whole picture as one line of text."""
    width, height = size
    quad = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float32)
    return Detections.of_quads(quad, np.ones(1, np.float32))


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000

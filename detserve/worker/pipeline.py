"""Pipeline: from pictures to detections. The only place that states the order of the stages."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np

from detserve.core.detections import Detections, Floats, Pixels
from detserve.core.letterbox import Letterbox
from detserve.errors import RequestError
from detserve.options import Options
from detserve.text.order import reading_order
from detserve.worker.detector import Canvases, Detector, Raw
from detserve.worker.encoded import Encoded, image_of
from detserve.worker.reader import Reader

Item = tuple[Encoded, Options]
"""One request: the bytes of its picture, with depth where there is any, and its options."""


@dataclass(frozen=True)
class Timings:
    """Milliseconds of each stage: decode of this picture, inference and post-processing of its whole batch."""

    decode: float = 0.0
    infer: float = 0.0
    post: float = 0.0


@dataclass(frozen=True)
class Result:
    """The result of one request: detections in pixels of the upright picture, or an error; and how long it took.

    size: (width, height) of the upright picture, None when it could not be decoded; maps: the score maps over the
    picture, name → float32 [h, w], where they were asked for; masks: the form in which masks were asked for.
    """

    outcome: Detections | RequestError
    size: tuple[int, int] | None = None
    timings: Timings = Timings()
    maps: Mapping[str, Floats] | None = None
    masks: str = "rle"


@dataclass(frozen=True)
class _Placed:
    """A picture that lies on a canvas of its batch.

    rgb: its pixels, uint8 [h, w, 3], where they are still needed; decode_ms: how long it took to get there.
    """

    letterbox: Letterbox
    options: Options
    decode_ms: float
    rgb: Pixels | None


class Pipeline(Generic[Canvases, Raw]):
    """Pictures in, detections out: decoded, letterboxed, inferred, suppressed, and read where there is a reader.

    max_pixels: larger pictures are refused; reduced_decode: whether a JPEG much larger than the input is decoded at a
    fraction of its size. A reader cuts its lines out of the picture, so with a reader every picture is decoded whole.
    """

    def __init__(
        self,
        detector: Detector[Canvases, Raw],
        max_pixels: int,
        reduced_decode: bool = True,
        reader: Reader | None = None,
    ) -> None:
        self.detector, self.spec = detector, detector.spec
        self.reader = reader
        self.max_pixels = max_pixels
        self.reduced_decode = reduced_decode and reader is None

    def __call__(self, items: Sequence[Item | RequestError]) -> list[Result]:
        """Run a batch of requests → one result each, in the same order.

        A request that is an error already, or whose picture cannot be decoded, gives that error as its result and
        leaves the others alone. Inputs of one size go through the engine together, others one by one.
        """
        if not self.spec.dynamic:
            return self._run(items)
        return [result for item in items for result in self._run([item])]

    def _run(self, items: Sequence[Item | RequestError]) -> list[Result]:
        """Decode and letterbox each picture, infer all, finish each."""
        canvases: Canvases | None = None
        entries: list[_Placed | Result] = []
        placed: list[_Placed] = []
        for item in items:
            if isinstance(item, RequestError):
                entries.append(Result(item))
                continue
            data, options = item
            start = time.perf_counter()
            try:
                target = self._size_on_canvas if self.reduced_decode else None
                image = image_of(data, self.spec, self.max_pixels, target)
            except RequestError as error:
                entries.append(Result(error.without_traceback(), timings=Timings(decode=_ms_since(start))))
                continue
            letterbox = self.spec.letterbox(image.size)
            if canvases is None:
                canvases = self.detector.canvases(len(items), letterbox.canvas)
            self.detector.draw(image.rgb, letterbox, canvases[len(placed)])
            # Without a reader only one decoded picture is kept at a time: a batch of large ones may not fit in memory.
            placed.append(_Placed(letterbox, options, _ms_since(start), image.rgb if self.reader else None))
            entries.append(placed[-1])
        results = iter(self._detect(canvases[: len(placed)], placed) if canvases is not None else ())
        return [next(results) if isinstance(entry, _Placed) else entry for entry in entries]

    def _size_on_canvas(self, picture: tuple[int, int]) -> tuple[int, int]:
        return self.spec.letterbox(picture).inner

    def _detect(self, canvases: Canvases, placed: Sequence[_Placed]) -> list[Result]:
        """What is on the canvases, and what it says, in pixels of the upright pictures."""
        options = [picture.options for picture in placed]
        if self.spec.task == "text" and self.spec.dynamic and options[0].detect == "off":
            found, infer_ms, post_ms, maps = [_whole_picture(placed[0].letterbox.picture)], 0.0, 0.0, None
        else:
            start = time.perf_counter()
            raw = self.detector.infer(canvases, options)
            infer_ms = _ms_since(start)
            start = time.perf_counter()
            suppressed = self.detector.found(raw, options)
            found = [_finish(each, picture) for each, picture in zip(suppressed, placed, strict=True)]
            post_ms = _ms_since(start)
            maps = self.detector.maps(canvases, raw) if any(each.maps == "on" for each in options) else None
        if self.reader:
            start = time.perf_counter()
            found = [_read(self.reader, each, picture) for each, picture in zip(found, placed, strict=True)]
            infer_ms += _ms_since(start)
        return [
            Result(
                detections,
                picture.letterbox.picture,
                Timings(picture.decode_ms, infer_ms, post_ms),
                _maps_of(maps, i, picture.letterbox) if maps is not None and picture.options.maps == "on" else None,
                picture.options.masks,
            )
            for i, (detections, picture) in enumerate(zip(found, placed, strict=True))
        ]


def _finish(found: Detections, picture: _Placed) -> Detections:
    """Detections in pixels of the canvas → those to be answered, in pixels of the upright picture, best first."""
    letterbox, options = picture.letterbox, picture.options
    found = letterbox.invert_detections(found)
    side = (found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1)
    # A box that lies only in the padding is clipped to nothing: drop it even if no least size was asked for.
    large_enough = (side > 0) & (side >= options.min_size * min(letterbox.picture))
    return found[large_enough][: options.max_detections]


def _read(reader: Reader, found: Detections, picture: _Placed) -> Detections:
    """What was found, in reading order and with its texts."""
    if found.quads is None:
        return found
    assert picture.rgb is not None, "a pipeline with a reader keeps the pixels"
    return reader(picture.rgb, found[reading_order(found.quads)], picture.options.split == "words")


def _maps_of(maps: Mapping[str, Floats], i: int, letterbox: Letterbox) -> dict[str, Floats]:
    """The score maps of picture i of a batch, without the padding."""
    return {name: letterbox.cut(values[i]) for name, values in maps.items()}


def _whole_picture(size: tuple[int, int]) -> Detections:
    """The whole picture as one line of text."""
    width, height = size
    quad = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float32)
    return Detections.of_quads(quad, np.ones(1, np.float32))


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000

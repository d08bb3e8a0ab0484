"""Pipeline: from pictures to detections. The only place that states the order of the stages."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, Protocol

import numpy as np

from detserve.core.detections import Detections, Floats, Pixels
from detserve.core.letterbox import Letterbox
from detserve.errors import RequestError
from detserve.models.parts import PartedSpec
from detserve.models.spec import TextSpec
from detserve.options import Options
from detserve.pictures.decode import Compressed, Image, compressed
from detserve.pictures.depth import WithDepth
from detserve.text.direction import turned_back
from detserve.text.order import reading_order
from detserve.worker.ahead import Ahead
from detserve.worker.detector import Canvas, Canvases, Detector, Raw
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


class _Decoded(NamedTuple):
    """What became of a request's bytes, and in how many milliseconds."""

    outcome: Image | Compressed | RequestError
    ms: float


class JpegsOnGpu(Protocol[Canvas]):
    """What decodes JPEGs where the detector's canvases are."""

    most_pixels: int

    def draw(self, pictures: Sequence[tuple[Compressed, Letterbox, Canvas]]) -> bool:
        """Decode a batch and letterbox each picture onto its canvas → False where nothing was drawn: one is broken."""


class Pipeline(Generic[Canvases, Raw]):
    """Pictures in, detections out: decoded, letterboxed, inferred, suppressed, and read where there is a reader.

    max_pixels: larger pictures are refused; reduced_decode: whether a JPEG much larger than the input is decoded at a
    fraction of its size. A reader cuts its lines out of the picture, so with a reader every picture is decoded whole.
    ahead: how many threads decode the pictures to come while one is drawn and, where inputs differ in size, while the
    engine runs; 0 for none. jpegs: what decodes small JPEGs, a batch at a time, on the GPU.
    """

    def __init__(
        self,
        detector: Detector[Canvases, Raw],
        max_pixels: int,
        reduced_decode: bool = True,
        reader: Reader | None = None,
        ahead: int = 0,
        jpegs: JpegsOnGpu[Canvases] | None = None,
    ) -> None:
        self.detector, self.spec = detector, detector.spec
        self.reader = reader
        self.max_pixels = max_pixels
        # A model of several networks is resized as it was trained, which begins with the whole picture.
        self.reduced_decode = reduced_decode and reader is None and not isinstance(self.spec, PartedSpec)
        self.ahead = Ahead(ahead) if ahead else None
        self.jpegs = jpegs

    def __call__(self, items: Sequence[Item | RequestError]) -> list[Result]:
        """Run a batch of requests → one result each, in the same order.

        A request that is an error already, or whose picture cannot be decoded, gives that error as its result and
        leaves the others alone. Inputs of one size go through the engine together, others one by one.
        """
        # Without threads each is decoded when its turn comes.
        decoded = self.ahead(self._decode, items) if self.ahead else map(self._decode, items)
        if self.spec.one_size:
            return self._run(items, decoded)
        return [result for item in items for result in self._run([item], decoded)]

    def _decode(self, item: Item | RequestError) -> _Decoded:
        """The picture of one request, or its error."""
        if isinstance(item, RequestError):
            return _Decoded(item, 0.0)
        start = time.perf_counter()
        outcome: Image | Compressed | RequestError | None = None
        try:
            if self.jpegs and not isinstance(item[0], WithDepth):
                outcome = compressed(item[0], self.max_pixels, self.jpegs.most_pixels)
            outcome = outcome or self._decode_here(item[0])
        except RequestError as error:
            outcome = error.without_traceback()
        return _Decoded(outcome, _ms_since(start))

    def _decode_here(self, data: Encoded) -> Image:
        return image_of(data, self.spec, self.max_pixels, self._size_on_canvas if self.reduced_decode else None)

    def _run(self, items: Sequence[Item | RequestError], decoded: Iterator[_Decoded]) -> list[Result]:
        """Letterbox each picture, infer all, finish each. decoded: the pictures of these items and of those to come."""
        canvases: Canvases | None = None
        entries: list[_Placed | Result] = []
        placed: list[_Placed] = []
        waiting: dict[int, tuple[Compressed, Letterbox, Canvases]] = {}
        for item, (picture, decode_ms) in zip(items, decoded, strict=False):
            if isinstance(picture, RequestError):
                entries.append(Result(picture, timings=Timings(decode=decode_ms)))
                continue
            assert not isinstance(item, RequestError), "an error is decoded to itself"
            start = time.perf_counter()
            letterbox = self.spec.letterbox(picture.size)
            if canvases is None:
                canvases = self.detector.canvases(len(items), letterbox.canvas)
            canvas = canvases[len(placed)]
            if isinstance(picture, Image):
                self.detector.draw(picture.rgb, letterbox, canvas)
            else:
                waiting[len(entries)] = picture, letterbox, canvas
            # Without a reader only one decoded picture is kept at a time: a batch of large ones may not fit in memory.
            rgb = picture.rgb if self.reader and isinstance(picture, Image) else None
            placed.append(_Placed(letterbox, item[1], decode_ms + _ms_since(start), rgb))
            entries.append(placed[-1])
        broken = self._draw(waiting)
        if canvases is not None and len(placed) < len(items):
            canvases = canvases[: len(placed)]
        results = iter(self._detect(canvases, placed) if canvases is not None else ())
        whole = [next(results) if isinstance(entry, _Placed) else entry for entry in entries]
        return [Result(broken[i]) if i in broken else result for i, result in enumerate(whole)]

    def _draw(self, waiting: Mapping[int, tuple[Compressed, Letterbox, Canvases]]) -> dict[int, RequestError]:
        """Decode the JPEGs that wait and letterbox them → the errors of broken ones, whose canvas stays empty.

        The GPU's decoder gives nothing of a batch in which one is broken; then each is decoded on the processor.
        """
        if not waiting or self.jpegs is None or self.jpegs.draw(list(waiting.values())):
            return {}
        broken = {}
        for i, (picture, letterbox, canvas) in waiting.items():
            try:
                self.detector.draw(self._decode_here(picture.data).rgb, letterbox, canvas)
            except RequestError as error:
                broken[i] = error.without_traceback()
        return broken

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
        if self.reader and options[0].rotate == "auto" and options[0].detect == "on" and self.spec.dynamic:
            start = time.perf_counter()
            turned = self._upright(found[0], placed[0])
            infer_ms += _ms_since(start)
            if turned is not None:
                again = turned.timings.post
                return [replace(turned, timings=Timings(placed[0].decode_ms, infer_ms - again, post_ms + again))]
        if self.reader:
            start = time.perf_counter()
            margin = self.spec.margin if isinstance(self.spec, TextSpec) else 0.0
            found = [_read(self.reader, each, picture, margin) for each, picture in zip(found, placed, strict=True)]
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

    def _upright(self, found: Detections, picture: _Placed) -> Result | None:
        """A page that was found not to be upright, turned and done once more; None for one that is upright.

        It is looked at again, and not only read the other way: detectors, too, know text that runs across better.
        """
        if found.quads is None or not len(found) or self.reader is None or picture.rgb is None:
            return None
        turns = self.reader.direction(picture.rgb, found.quads)
        if not turns:
            return None
        rgb = np.ascontiguousarray(np.rot90(picture.rgb, turns))
        letterbox = self.spec.letterbox((rgb.shape[1], rgb.shape[0]))
        canvases = self.detector.canvases(1, letterbox.canvas)
        self.detector.draw(rgb, letterbox, canvases[0])
        options = replace(picture.options, rotate="off")
        (result,) = self._detect(canvases, [_Placed(letterbox, options, picture.decode_ms, rgb)])
        assert isinstance(result.outcome, Detections)
        size = picture.letterbox.picture
        maps = result.maps and {name: np.rot90(values, -turns) for name, values in result.maps.items()}
        return replace(result, outcome=turned_back(result.outcome, turns, size), size=size, maps=maps)


def _finish(found: Detections, picture: _Placed) -> Detections:
    """Detections in pixels of the canvas → those to be answered, in pixels of the upright picture, best first."""
    letterbox, options = picture.letterbox, picture.options
    found = letterbox.invert_detections(found)
    side = (found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1)
    # A box that lies only in the padding is clipped to nothing: drop it even if no least size was asked for.
    large_enough = (side > 0) & (side >= options.min_size * min(letterbox.picture))
    return found[np.flatnonzero(large_enough)[: options.max_detections]]


def _read(reader: Reader, found: Detections, picture: _Placed, margin: float) -> Detections:
    """What was found, in reading order and with its texts. margin: see `TextSpec`."""
    if found.quads is None:
        return found
    assert picture.rgb is not None, "a pipeline with a reader keeps the pixels"
    options = picture.options
    if options.detect == "off":
        return reader(picture.rgb, found, options.split, alone=True)
    return reader(picture.rgb, found[reading_order(found.quads)], options.split, margin)


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

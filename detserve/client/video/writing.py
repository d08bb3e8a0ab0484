"""Writing: a video with its frames encoded anew as H.264, and its sound as it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import av
import numpy as np
from numpy.typing import NDArray

from detserve.client.faces.regions import cover
from detserve.client.faces.wanted import Wanted
from detserve.client.video.reading import Packet, Reader, VideoError, turns
from detserve.client.video.tracks import Box

OPTIONS = {"preset": "veryfast", "crf": "23"}
"""Of the encoder: its own quality, in far less time than its own preset takes."""
KEPT = (".mp4", ".m4v", ".mov")
"""Containers that are kept; the others become Matroska, which takes the sound of all of them as it is."""
_BLACK = (16, 128, 128)


def suffix(path: Path) -> str:
    """Of the written video, by that of the one that is read."""
    return path.suffix.lower() if path.suffix.lower() in KEPT else ".mkv"


class Writer:
    """A video under way, opened by its first frame. What the file says of itself stays unless `wanted` strips it."""

    def __init__(self, path: Path, kind: str, reader: Reader, wanted: Wanted) -> None:
        """kind: its suffix, which names the container; reader: of the video that it is made from."""
        self._kind = kind
        self._reader = reader
        self._wanted = wanted
        self._last = -1
        self._video: Any = None
        names = {".mkv": "matroska", ".mov": "mov"}
        try:
            self._out = av.open(str(path), "w", format=names.get(kind, "mp4"))
        except av.error.FFmpegError as error:
            raise VideoError(f"cannot write {path.name}: {error.strerror}") from error
        self._sound: dict[int, Any] = {}
        self._early: list[Packet] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()

    def sound(self, packet: Packet) -> None:
        """Take a packet of sound as it is."""
        if self._video is None:
            self._early.append(packet)
            return
        packet.stream = self._sound[packet.stream.index]
        self._out.mux(packet)

    def frame(self, frame: av.VideoFrame, boxes: Iterable[Box]) -> None:
        """Write a frame, what lies in the boxes, in ratios of the upright frame, made unrecognisable."""
        if self._video is None:
            self._begin(frame)
        plain = frame.reformat(self._video.width, self._video.height, "yuv420p")
        plain.make_writable()  # what a decoder still needs stays as it is
        lying = [_turned(box, turns(frame)) for box in boxes]
        wanted = self._wanted
        assert wanted.blur, "a video is written to be blurred"
        for plane, black in zip(planes(plain), _BLACK, strict=True):
            cover(plane, lying, wanted.blur, wanted.shape, wanted.margin, black)
        plain.pict_type = 0  # the encoder's choice
        if plain.pts is None:  # some files do not say when
            plain.pts = round((self._last + 1) / (self._reader.rate * (plain.time_base or Fraction(1, 1000))))
        plain.pts = self._last = max(plain.pts, self._last + 1)
        self._out.mux(self._video.encode(plain))

    def finish(self) -> None:
        """Write what the encoder has kept, and the end."""
        self._out.mux(self._video.encode(None))
        self._out.close()

    def _begin(self, frame: av.VideoFrame) -> None:
        """Add the streams as the first frame shows them."""
        source = self._reader.video
        video = self._out.add_stream("libx264", rate=self._reader.rate, options=OPTIONS)
        # Two rows and columns of pixels share their colour.
        video.width, video.height = max(2, frame.width // 2 * 2), max(2, frame.height // 2 * 2)
        video.pix_fmt = "yuv420p"
        context: Any = video.codec_context
        context.time_base = source.time_base
        context.thread_type = "AUTO"
        context.sample_aspect_ratio = self._reader.aspect
        context.color_range = frame.color_range  # the reformatter leaves the values as they are
        context.colorspace, context.color_primaries = frame.colorspace, frame.color_primaries
        context.color_trc = frame.color_trc
        if frame.rotation:
            video.set_display_rotation(frame.rotation)
        for stream in self._reader.sound:
            try:
                copied = self._sound[stream.index] = self._out.add_stream_from_template(stream)
            except ValueError as error:
                what = f"{self._kind} takes no sound as {stream.name}: convert the sound to AAC first"
                raise VideoError(what) from error
            if language := stream.metadata.get("language"):
                copied.metadata["language"] = language
        if not self._wanted.strip:
            self._out.metadata.update(self._reader.container.metadata)
        self._video = video
        for packet in self._early:
            self.sound(packet)
        self._early.clear()


def planes(frame: av.VideoFrame) -> list[NDArray[np.uint8]]:
    """The planes of a frame in yuv420p, uint8 [h, w] each; what is written to them is written to the frame."""
    found = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        found.append(rows[: plane.height, : plane.width])
    return found


def _turned(box: Box, quarter_turns: int) -> Sequence[float]:
    """A box of the upright frame on the frame as it lies. quarter_turns: to the left, that make it upright."""
    cx, cy, w, h = box
    for _ in range(quarter_turns):
        cx, cy, w, h = 1 - cy, cx, h, w
    return cx, cy, w, h

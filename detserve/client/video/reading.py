"""Reading: a video's frames and the packets of its sound, in the order in which they lie in the file."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import av
import cv2
import numpy as np

from detserve.client.video.whole import stated_size
from detserve.errors import DetserveError

LONGEST = 640
"""Pixels of the longer side of what is sent of a frame: as many as the larger inputs of models of faces have."""
QUALITY = 90
BROKEN = "the video cannot be read: it is broken or cut short"


Packet = Any
"""av.Packet, whose type says of what stream it is."""


class VideoError(DetserveError):
    """A video that cannot be read or written. The text says why, on one line."""


class Reader:
    """An open video. Only one thread may read it. Raises VideoError for a file that is none."""

    def __init__(self, path: Path) -> None:
        if stated_size(path) > path.stat().st_size:  # OSError says why, and FFmpeg would not
            raise VideoError(BROKEN)
        try:
            self.container = av.open(str(path), "r", metadata_errors="replace")
        except av.error.FFmpegError as error:
            raise VideoError(BROKEN) from error
        # Pictures of covers count as streams of video as well; they come after what they are covers of.
        if not self.container.streams.video:
            self.container.close()
            raise VideoError("there is no picture in this file: a video is needed")
        self.video = self.container.streams.video[0]
        self.video.thread_type = "AUTO"
        self.sound = list(self.container.streams.audio)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    @property
    def rate(self) -> Fraction:
        """Frames a second, on average."""
        return self.video.average_rate or self.video.guessed_rate or Fraction(25)

    @property
    def aspect(self) -> Fraction:
        """Width of a pixel by its height."""
        return self.video.sample_aspect_ratio or Fraction(1)

    @property
    def count(self) -> int | None:
        """How many frames there are, about; None where the file does not say."""
        if self.video.frames:
            return self.video.frames
        return round(self.container.duration / av.time_base * self.rate) if self.container.duration else None

    def __iter__(self) -> Iterator[av.VideoFrame | Packet]:
        """The frames, and the packets of sound as they are. Raises VideoError where the file is broken or cut short."""
        frames = 0
        try:
            for packet in self.container.demux(self.video, *self.sound):
                if packet.is_corrupt:
                    raise VideoError(BROKEN)
                if packet.stream is not self.video:
                    if packet.dts is not None:  # the last one of a stream is empty
                        yield packet
                    continue
                for frame in packet.decode():
                    frames += 1
                    yield frame
        except av.error.FFmpegError as error:
            raise VideoError(BROKEN) from error
        if not frames:
            raise VideoError(BROKEN)


def sent(frame: av.VideoFrame, aspect: Fraction) -> bytes:
    """A frame as it is sent: upright, its pixels square, its longer side at most LONGEST, a JPEG.

    aspect: width of a pixel by its height, as the frame lies.
    """
    width, height = frame.width * aspect, Fraction(frame.height)
    shrink = max(Fraction(1), max(width, height) / LONGEST)
    small = frame.reformat(max(1, round(width / shrink)), max(1, round(height / shrink)), "bgr24", interpolation="AREA")
    upright = np.rot90(small.to_ndarray(), turns(frame))
    well, data = cv2.imencode(".jpg", np.ascontiguousarray(upright), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert well, "OpenCV encodes frames"
    return data.tobytes()


def turns(frame: av.VideoFrame) -> int:
    """Quarter turns to the left by which a player turns a frame."""
    return round(frame.rotation / 90) % 4

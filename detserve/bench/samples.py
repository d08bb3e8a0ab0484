"""Samples: the pictures that are sent. A file, a folder, or made from the photograph in the package scikit-image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from detserve.client.shots import folders_of, shots_of
from detserve.core.detections import Pixels
from detserve.errors import SetupError
from detserve.pictures.depth import WithDepth
from detserve.pictures.files import SUFFIXES

PHOTOGRAPH = "package:skimage/data/astronaut.png"
MIX = ("640x480", "1280x720", "1920x1440", "4000x3000")
"""Sizes of the generated mix: a web cam, video, a photograph on the web, a photograph from a phone."""
QUALITY = 90
_SIZE = re.compile(r"(\d+)x(\d+)")


class Sample(NamedTuple):
    """A picture's name and its bytes, with those of the depth map beside it where there is one."""

    name: str
    data: bytes | WithDepth


def load(source: str) -> Sequence[Sample]:
    """The pictures of "mix", of a size as "1920x1440", of a file, of a folder in the order of their names, or the pairs
    of a recording with depth.

    All of them are held in memory. Raises SetupError when there is none.
    """
    if source == "mix" or _SIZE.fullmatch(source):
        return [Sample(f"{size}.jpg", of_size(size)) for size in (MIX if source == "mix" else (source,))]
    path = Path(source)
    try:
        if folders_of(path):
            pictures = [Sample(shot.colour.name, shot.read()) for shot in shots_of([source]).shots]
        else:
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            wanted = [file for file in files if file == path or file.suffix.lower() in SUFFIXES]
            pictures = [Sample(file.name, file.read_bytes()) for file in wanted]
    except OSError as error:
        raise SetupError(f"cannot read {error.filename}: {error.strerror}") from error
    if not pictures:
        raise SetupError(f"no pictures in {source}; their names end in {', '.join(SUFFIXES)}")
    return pictures


def of_size(size: str) -> bytes:
    """`photograph` of a size as "1920x1440"."""
    width, _, height = size.partition("x")
    return photograph(int(width), int(height))


def photograph(width: int, height: int) -> bytes:
    """A photograph with one face as a JPEG of that size in pixels, of about as many bytes as a camera's.

    The small photograph is cut to the shape and enlarged. An enlargement alone would be too smooth and decode too
    fast. Noise of several scales, strong where the photograph has texture, replaces the detail that it lacks.
    """
    import cv2

    small = _small_photograph()
    scale = max(width, height) / len(small)
    cut = small[: max(1, round(height / scale)), : max(1, round(width / scale))]
    large = cv2.resize(cut, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    if scale > 1:
        texture = np.abs(cut - cv2.GaussianBlur(cut, (0, 0), 2).astype(np.float32)).mean(axis=2)
        strength = cv2.resize(cv2.GaussianBlur(texture, (0, 0), 3), (width, height))
        random = np.random.default_rng(1)
        for octave in (1, 2, 4):
            coarse = random.standard_normal((-(-height // octave), -(-width // octave)), np.float32)
            large += ((1 + 0.4 * strength) * cv2.resize(coarse, (width, height)))[..., None]
    bgr = np.clip(large, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


@cache
def _small_photograph() -> Pixels:
    """The photograph as it comes, uint8 [512, 512, 3] BGR."""
    import cv2

    from detserve.pack.weights import locate
    from detserve.pictures.decode import decode

    rgb = decode(locate(PHOTOGRAPH).read_bytes()).rgb
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), np.uint8)

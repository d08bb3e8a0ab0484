"""Calibration: real pictures of the kind that will be served, from which an engine in int8 learns its ranges."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from detserve.core.detections import Pixels
from detserve.errors import RequestError, SetupError
from detserve.models.spec import ModelSpec
from detserve.pictures.files import find

MIN_PICTURES, MAX_PICTURES = 10, 300
"""How many pictures are needed, and how many are used: beyond that ranges hardly change, and each takes its time."""


@dataclass(frozen=True)
class Calibration:
    """Files of pictures that can be read. Raises SetupError for fewer than MIN_PICTURES."""

    pictures: tuple[Path, ...]

    def __post_init__(self) -> None:
        if len(self.pictures) < MIN_PICTURES:
            raise SetupError(
                f"--calibration has {len(self.pictures)} picture(s) that can be read; at least {MIN_PICTURES} are "
                f"needed, {MAX_PICTURES} are good, of the kind that will be served"
            )

    @classmethod
    def of(cls, sources: Sequence[str]) -> Self:
        """The pictures of files, folders and globs, each once; if there are too many, MAX_PICTURES, evenly spaced.

        One that cannot be read is named on stderr and left out. Raises SetupError for a source without a picture.
        """
        found = find(sources)
        if len(found) > MAX_PICTURES:
            found = [found[i * len(found) // MAX_PICTURES] for i in range(MAX_PICTURES)]
        return cls(tuple(path for path in found if _readable(path)))

    def canvas(self, picture: Path, spec: ModelSpec) -> Pixels:
        """One of the pictures on the model's input, as the pipeline draws it: uint8 [1, height, width, 3]."""
        from detserve.pictures.decode import decode

        image = decode(picture.read_bytes(), target_size=lambda size: spec.letterbox(size).inner)
        return spec.letterbox(image.size).drawn_on_new_canvas(image.rgb, spec.fill)[None]


def _readable(path: Path) -> bool:
    from detserve.pictures.decode import decode

    try:
        decode(path.read_bytes())
    except (RequestError, OSError) as error:
        print(f"left out {path}: {error}", file=sys.stderr)
        return False
    return True

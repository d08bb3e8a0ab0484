"""Pictures: what is made of the faces of one picture, as files."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image

from detserve.client import draft
from detserve.client.answer import Answer
from detserve.client.faces import FaceError, metadata
from detserve.client.faces.align import aligned
from detserve.client.faces.metadata import NOTHING, Metadata
from detserve.client.faces.regions import cover, cut
from detserve.client.faces.wanted import Wanted
from detserve.core.detections import Pixels
from detserve.pictures.decode import decode, read_header

QUALITY = 92
"""Of the JPEGs that are written."""
ROUNDS = 4
"""How often a covered picture is asked about."""
AGAIN_CONF = 0.25
"""Of what is covered again: below this, nothing in particular is found all over a picture."""


@dataclass(frozen=True)
class Faces:
    """An existing folder for what is made of faces. ask: the answer to a picture's bytes, by the same model."""

    folder: Path
    wanted: Wanted
    ask: Callable[[bytes], Answer]

    def write(self, name: str, data: bytes, detections: Sequence[Mapping[str, Any]]) -> None:
        """Write NAME.blurred.jpg or .png, and NAME.face-1.png or NAME.aligned-1.png and so on, the best face first.

        data: the picture's bytes. Raises OSError when a file cannot be written, RequestError when the picture cannot be
        decoded here, FaceError where faces cannot be aligned or covered.
        """
        wanted = self.wanted
        rgb = decode(data).rgb
        for number, found in enumerate(detections, 1):
            if wanted.crops and (part := cut(rgb, found, wanted.margin)).size:
                self._save(part, f"{name}.face-{number}.png")
            if wanted.align:
                self._save(_aligned(rgb, found, wanted.align), f"{name}.aligned-{number}.png")
        if wanted.blur:
            about = metadata.read(data, keep=not wanted.strip)
            cover(rgb, [found["xywh_ratio"] for found in detections], wanted.blur, wanted.shape, wanted.margin)
            self._cover_again(rgb)
            is_jpeg = read_header(data).format == "JPEG"
            self._save(rgb, f"{name}.blurred.{'jpg' if is_jpeg else 'png'}", about)

    def _cover_again(self, rgb: Pixels) -> None:
        """Ask whether there is still a face, as long as there is one, and put a black box over it.

        A spot of skin's colours over a collar is a face to many a detector, and may be half of one that was missed.
        Raises FaceError where one is still found after ROUNDS.
        """
        for done in range(ROUNDS):
            answer = self.ask(_encoded(rgb, "JPEG"))
            left = [found["xywh_ratio"] for found in answer.detections if found["conf"] >= AGAIN_CONF]
            if not left:
                return
            cover(rgb, left, "fill", "box", self.wanted.margin * (1 + done / 2))
        raise FaceError(f"faces are found in it however they are covered, {ROUNDS} times: nothing is written")

    def _save(self, rgb: Pixels, name: str, about: Metadata = NOTHING) -> None:
        draft.write(self.folder / name, _encoded(rgb, "JPEG" if name.endswith(".jpg") else "PNG", about))


def _encoded(rgb: Pixels, kind: str, about: Metadata = NOTHING) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    options = {"quality": QUALITY} if kind == "JPEG" else {}
    PIL.Image.fromarray(rgb).save(buffer, kind, exif=about.exif, icc_profile=about.icc, **options)
    return buffer.getvalue()


def _aligned(rgb: Pixels, found: Mapping[str, Any], side: int) -> Pixels:
    marks = found.get("landmarks_ratio")
    if marks is None:
        raise FaceError("no landmarks in the answer, by which a face could be aligned: --align wants another model")
    size = rgb.shape[1], rgb.shape[0]
    try:
        return aligned(rgb, [value * size[i % 2] for i, value in enumerate(marks)], side)
    except ValueError as error:
        raise FaceError(f"a face cannot be aligned: {error}") from error

"""PP-OCRv6 small: text regions by differentiable binarization, and their reading. Its weights come in rapidocr."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from detserve.core.detections import Detections, Floats, Pixels
from detserve.errors import BadWeights
from detserve.models.spec import HALF_RANGE, OnnxSpec, Outputs, ReaderSpec, TextSpec, Weights
from detserve.text import ctc
from detserve.text.ctc import Line


@dataclass(frozen=True, kw_only=True)
class DB(OnnxSpec, TextSpec):
    """A probability map of shrunken text, and its post-processing.

    threshold: a pixel above it is text; unclip: how far a region is grown, see `decode.quads`. conf is the least mean
    probability of a box.
    """

    threshold: float = 0.3
    unclip: float = 1.6

    def decode(self, outputs: Outputs, conf: Sequence[float]) -> list[Detections]:
        """The quads of each picture. A pixel of the map is a pixel of the input."""
        from detserve.models.ppocr import decode as db

        maps = outputs[self.outputs[0]][:, 0]
        return [
            Detections.of_quads(*db.quads(m, threshold=self.threshold, box_threshold=c, unclip=self.unclip))
            for m, c in zip(maps, conf, strict=True)
        ]

    def maps(self, outputs: Outputs) -> dict[str, Floats]:
        """The map of scores."""
        return {"probability": outputs["probability"][:, 0]}


@dataclass(frozen=True, kw_only=True)
class PPReader(OnnxSpec, ReaderSpec):
    """A recogniser of lines of fixed height and any width, by CTC. Its alphabet stands in its ONNX file."""

    dynamic: ClassVar[bool] = True
    best_class: ClassVar[bool] = True

    def with_file_metadata(self, *weights: Path) -> Self:
        """This spec with the alphabet of the file's metadata, and a space as the last character.

        Raises BadWeights for a file that is no ONNX file or has no alphabet.
        """
        import onnx

        try:
            entries = {
                entry.key: entry.value for entry in onnx.load(weights[0], load_external_data=False).metadata_props
            }
        except Exception as error:
            raise BadWeights(f"{weights[0].name}: not an ONNX file ({error})") from error
        if "character" not in entries:
            raise BadWeights(f"{weights[0].name}: its metadata has no alphabet under the key 'character'")
        return self.override(alphabet="".join(entries["character"].split("\n")) + " ")

    def width(self, aspect: float) -> int:
        """The line's width at the input's height, rounded up to a multiple of the stride, so that few widths occur."""
        width = -(-int(np.ceil(self.size[1] * aspect)) // self.stride) * self.stride
        return min(max(width, 2 * self.stride), self.size[0])

    def accepts(self, width: int, height: int) -> bool:
        """Whether the network accepts an input of that size, in pixels."""
        return height == self.size[1] and width % self.stride == 0 and 0 < width <= self.size[0]

    def place(self, text: Pixels, width: int) -> tuple[Pixels, int]:
        """The line scaled to the input's height, with padding at the right."""
        from detserve.text import crops

        return crops.fit(text, self.size[1], width, self.fill)

    def read(self, outputs: Outputs) -> list[Line]:
        """The texts of a batch of lines; a line's confidence is the mean of its characters'."""
        best, probability = (outputs[name] for name in self.outputs)
        return ctc.lines(best.astype(np.intp), probability, self.alphabet, "mean")


def _weights(file: str, sha256: str) -> Weights:
    return Weights(origin=f"package:rapidocr/models/{file}", licence="Apache-2.0", sha256=sha256)


SPECS = (
    DB(
        name="ppocrv6-small-det",
        task="text",
        weights=_weights("PP-OCRv6_det_small.onnx", "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f"),
        outputs=("probability",),
        size=(960, 960),
        channels="BGR",
        mean=HALF_RANGE,
        std=HALF_RANGE,
        fill=127,
        iou=1.0,
    ),
    PPReader(
        name="ppocrv6-small-rec",
        task="read",
        weights=_weights("PP-OCRv6_rec_small.onnx", "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884"),
        outputs=("best", "probability"),
        size=(2560, 48),
        stride=16,
        channels="BGR",
        mean=HALF_RANGE,
        std=HALF_RANGE,
        fill=127,
    ),
)

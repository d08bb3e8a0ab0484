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

STEPS = 40
"""A line's input has at most so many steps of width; a wider one has steps twice as wide."""


@dataclass(frozen=True, kw_only=True)
class DB(OnnxSpec, TextSpec):
    """A probability map of shrunken text, and its post-processing.

    threshold: a pixel above it is text; unclip: how far a region is grown, see `decode.quads`; dilate: whether it is
    grown by a pixel beforehand, as the package rapidocr does and PaddleOCR does not, which makes one of two lines that
    lie close. conf is the least mean probability of a box.
    """

    threshold: float = 0.3
    unclip: float = 1.6
    dilate: bool = False

    def decode(self, outputs: Outputs, conf: Sequence[float]) -> list[Detections]:
        """The quads of each picture. A pixel of the map is a pixel of the input."""
        from detserve.models.ppocr import decode as db

        maps = outputs[self.outputs[0]][:, 0]
        return [
            Detections.of_quads(
                *db.quads(m, threshold=self.threshold, box_threshold=c, unclip=self.unclip, dilate=self.dilate)
            )
            for m, c in zip(maps, conf, strict=True)
        ]

    def maps(self, outputs: Outputs) -> dict[str, Floats]:
        """The map of scores."""
        return {"probability": outputs["probability"][:, 0]}


@dataclass(frozen=True, kw_only=True)
class PPReader(OnnxSpec, ReaderSpec):
    """A recogniser of lines of fixed height and any width, by CTC: PP-OCR's, of any language, as an ONNX file.

    Its alphabet stands in the file's metadata, as RapidOCR's files have it, or is given; end: columns of fill behind a
    line, at least.
    """

    dynamic: ClassVar[bool] = True
    best_class: ClassVar[bool] = True

    end: int = 24
    trained_width: int = 320

    def with_file_metadata(self, *weights: Path) -> Self:
        """This spec with its alphabet: the one that it has, else that of the file's metadata.

        A space follows it, as in PP-OCR, unless the network has no class for that. Raises BadWeights for a file that is
        no ONNX file, where there is no alphabet, and where it does not fit the network's classes.
        """
        import onnx

        try:
            # Inferred: a file may leave the number of its classes open.
            model = onnx.shape_inference.infer_shapes(onnx.load(weights[0], load_external_data=False))
            entries = {entry.key: entry.value for entry in model.metadata_props}
        except Exception as error:
            raise BadWeights(f"{weights[0].name}: not an ONNX file ({error})") from error
        alphabet = self.alphabet or "".join(entries.get("character", "").split("\n"))
        if not alphabet:
            raise BadWeights(
                f"{weights[0].name}: its metadata has no alphabet under the key 'character'; give --alphabet FILE"
            )
        axes = model.graph.output[0].type.tensor_type.shape.dim
        classes = axes[-1].dim_value if axes else 0  # 0: nothing in the file says
        if classes != len(alphabet) + 1:
            alphabet += " "
        if classes and classes != len(alphabet) + 1:
            raise BadWeights(
                f"{weights[0].name} tells {classes - 1} characters apart, the alphabet has {len(alphabet) - 1} and the "
                "space: it is another model's"
            )
        return self.override(alphabet=alphabet)

    def width(self, aspect: float) -> int:
        """The width of a line at the input's height and of `end` columns of fill, a multiple of the stride.

        The network was trained on lines with fill behind them; without it the last characters get lost. It is planned
        anew for each width, so there are few, see STEPS.
        """
        filled = int(np.ceil(self.size[1] * aspect)) + self.end
        step = self.stride
        while filled > STEPS * step:
            step *= 2
        return min(-(-filled // step) * step, self.size[0])

    def accepts(self, width: int, height: int) -> bool:
        """Whether the network accepts an input of that size, in pixels."""
        return height == self.size[1] and width % self.stride == 0 and 0 < width <= self.size[0]

    def place(self, text: Pixels, width: int) -> tuple[Pixels, int]:
        """The line scaled to the input's height, with `end` columns of padding or more at the right."""
        from detserve.text import crops

        return crops.fit(text, self.size[1], width, self.fill, self.end)

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
        shrink_to=736,  # PP-OCR's own scale: wide pictures are shrunk no further, as far as their pixels allow
        margin=0.125,  # a quad grown by 1.6 is about a third higher than its text
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
        conf=0.6,
        stride=16,
        channels="BGR",
        mean=HALF_RANGE,
        std=HALF_RANGE,
        fill=127,
    ),
)

"""ModelSpec: what a model wants as input, what its outputs mean, and where its weights come from."""

from __future__ import annotations

import difflib
import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Detections, Floats, Pixels
from detserve.core.letterbox import Letterbox
from detserve.errors import BadSpec
from detserve.text.ctc import Line

if TYPE_CHECKING:
    from torch import nn

Outputs = Mapping[str, NDArray[np.float32]]
"""The raw outputs of a network by name, each float32 [n, ...] with the batch first."""

HALF_RANGE = (127.5, 127.5, 127.5)
"""As mean and as std it turns pixels from 0 to 255 into values from -1 to 1."""
MIN_SIDE, MAX_SIDE = 320, 2560
"""Bounds of a text detector's `size`, the longest side of its inputs, in pixels."""

TRACED = 320
"""Side of what a network with open sides is traced with: at its largest CRAFT takes half a minute for it."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where a model's weights come from.

    origin: "package:NAME/FILE" for a file inside an installed package, else a sentence that says where users
    get the file; licence: SPDX identifier; sha256: of that file, where it is one certain file; accuracy: as
    its authors published it.
    """

    origin: str
    licence: str
    sha256: str | None = None
    accuracy: str = "not published"


@dataclass(frozen=True, kw_only=True)
class ModelSpec(ABC):
    """One model: its input, its outputs, its thresholds. Subclasses say how weights are loaded and outputs decoded.

    size: input (width, height) in pixels, each a multiple of `stride`. The network sees float32 NCHW
    (pixel - mean) / std, with mean and std in units of 0-255, in the order of `channels`; letterbox padding
    has the value `fill`. conf, iou, max_detections: defaults that a request may override. Raises BadSpec for values
    out of range.
    """

    dynamic: ClassVar[bool] = False
    """Whether the input's size is chosen for each picture; `size` is then the largest."""
    files: ClassVar[int] = 1
    """How many weight files it takes."""

    name: str
    task: str
    weights: Weights
    outputs: tuple[str, ...]
    size: tuple[int, int]
    stride: int = 32
    channels: str = "RGB"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fill: int = 114
    conf: float = 0.5
    iou: float = 0.5
    max_detections: int = 1000

    def __post_init__(self) -> None:
        def check(holds: bool, rule: str) -> None:
            if not holds:
                raise BadSpec(f"model {self.name}: {rule}")

        sides = [side for side in self.size if side < self.stride or side % self.stride]
        check(len(self.size) == 2 and not sides, f"size {self.size} must be two multiples of {self.stride}")
        check(self.channels in ("RGB", "BGR"), f"channels must be RGB or BGR, not {self.channels!r}")
        check(len(self.mean) == len(self.std) == 3 and all(self.std), "mean and std need three values each")
        check(0 <= self.fill <= 255, f"fill {self.fill} is no pixel value")
        check(0 <= self.conf <= 1, f"conf {self.conf} must lie between 0 and 1")
        check(0 <= self.iou <= 1, f"iou {self.iou} must lie between 0 and 1")
        check(self.max_detections >= 1, f"max_detections {self.max_detections} must be at least 1")
        check(bool(self.outputs), "a model needs at least one output")

    def with_file_metadata(self, *weights: Path) -> Self:
        """This spec with what stands only in those weight files, an alphabet for instance."""
        return self

    def letterbox(self, picture: tuple[int, int]) -> Letterbox:
        """Where a picture of that (width, height) lies on the input."""
        return Letterbox.fit(picture, self.size)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """The (width, height) that an input may have, in pixels; without meaning where it is open, see `dynamic`."""
        return (self.size,)

    @property
    def one_size(self) -> bool:
        """Whether all inputs have the same size, so that they go through the engine together."""
        return not self.dynamic and len(self.sizes) == 1

    def accepts(self, width: int, height: int) -> bool:
        """Whether the network accepts an input of that size, in pixels."""
        return (width, height) in self.sizes

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """The shape of one input of its engine, pixels [height, width, 3]; None where it is open."""
        return (self.size[1], self.size[0], 3) if self.one_size else (None, None, 3)

    @property
    def input_type(self) -> type[np.generic]:
        """What its engine takes: pixels."""
        return np.uint8

    @property
    def together(self) -> int:
        """How many inputs one call takes at least, where a backend would take one."""
        return 1

    def blank(self, n: int) -> NDArray[Any]:
        """The largest input of its engine, n times, all zeros."""
        return np.zeros((n, self.size[1], self.size[0], 3), self.input_type)

    def example(self, n: int) -> NDArray[Any]:
        """An input of its engine, n times, to trace the network with: small where sides are open."""
        width, height = (min(side, TRACED) for side in self.size) if self.dynamic else self.size
        return np.zeros((n, height, width, 3), self.input_type)

    def fits(self, batch: NDArray[Any]) -> bool:
        """Whether that is a batch of inputs of its engine."""
        shape = self.input_shape
        sized = batch.ndim == 1 + len(shape) and batch.dtype == self.input_type
        sized = sized and all(want in (None, side) for want, side in zip(shape, batch.shape[1:], strict=True))
        return sized and self.accepts(*batch.shape[2:0:-1])

    def override(self, **changes: Any) -> Self:
        """This spec with some fields changed. Raises BadSpec for unknown fields and for values out of range."""
        known = {field.name for field in fields(self)}
        for key in changes:
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                hint = f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(sorted(known))}"
                raise BadSpec(f"model {self.name} has no setting {key!r}{hint}")
        kinds = {name: type(getattr(self, name)) for name in changes}
        try:
            values = {name: _convert(value, kinds[name]) for name, value in changes.items()}
        except (TypeError, ValueError) as error:
            raise BadSpec(f"model {self.name}: {error}") from error
        return replace(self, **values)

    def settings(self) -> dict[str, Any]:
        """The fields that can be written to YAML and given to `override`: all but the weights' origin."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "weights"}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class DetectorSpec(ModelSpec):
    """A model that finds things in pictures."""

    @abstractmethod
    def decode(self, outputs: Outputs, conf: Sequence[float]) -> list[Detections]:
        """Raw outputs of a batch of n pictures → the candidates of each whose score is above its `conf`, before NMS.

        conf: n thresholds. Boxes and points are in pixels of the letterboxed input.
        """

    def head(self) -> nn.Module | None:
        """`decode` in PyTorch, to run on a GPU behind the network; None for models that have none.

        The module takes the tuple of outputs and returns `detserve.models.head.Candidates`, all of fixed shapes.
        """
        return None

    def maps(self, outputs: Outputs) -> dict[str, Floats]:
        """Score maps to show, from the raw outputs: name → float32 [n, h, w] from 0 to 1, over the whole input."""
        return {}


@dataclass(frozen=True, kw_only=True)
class TextSpec(DetectorSpec):
    """A detector of text. The size of its input depends on the picture.

    size: a square, its side from 320 to 2560 pixels. A picture is scaled down to fit into it; one whose shorter side is
    below `enlarge_to` pixels is scaled up, `enlarge_by` times at most. Its aspect ratio is kept; padding at the right
    and below rounds the sides up to multiples of the stride.

    shrink_to: where it is above 0, a wide or high picture is scaled down less: its shorter side no further than to
    `shrink_to` pixels, as long as it has no more pixels than the square and its longer side stays within `longest`.

    margin: how much of a quad's height is blank above its text and below it; words and characters are given without.
    """

    dynamic: ClassVar[bool] = True

    enlarge_to: int = 736
    enlarge_by: float = 10.0
    shrink_to: int = 0
    margin: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        side = self.size[0]
        if side != self.size[1] or not MIN_SIDE <= side <= MAX_SIDE:
            raise BadSpec(
                f"model {self.name}: size {self.size} must be a square of {MIN_SIDE} to {MAX_SIDE} pixels, "
                "the longest side of its inputs"
            )
        if not 0 <= self.margin < 0.5:
            raise BadSpec(f"model {self.name}: margin {self.margin} must be at least 0 and below 0.5")

    @property
    def longest(self) -> int:
        """The longest side that an input may have, in pixels: with `shrink_to` four thirds of the square's."""
        return self.size[0] * 4 // 3 // self.stride * self.stride if self.shrink_to else self.size[0]

    def letterbox(self, picture: tuple[int, int]) -> Letterbox:
        """Where a picture of that (width, height) lies on its input: at the top left."""
        side, longer, shorter = self.size[0], max(picture), min(picture)
        ratio = min(side / longer, self.enlarge_by, max(1.0, self.enlarge_to / shorter))
        if self.shrink_to:
            less = min(1.0, self.shrink_to / shorter, side / math.sqrt(longer * shorter), self.longest / longer)
            ratio = max(ratio, less)
        inner = max(1, round(picture[0] * ratio)), max(1, round(picture[1] * ratio))
        canvas = -(-inner[0] // self.stride) * self.stride, -(-inner[1] // self.stride) * self.stride
        return Letterbox(picture, canvas, inner, 0, 0)

    def accepts(self, width: int, height: int) -> bool:
        """Whether the network accepts an input of that size, in pixels."""
        return all(0 < side <= self.longest and side % self.stride == 0 for side in (width, height))


@dataclass(frozen=True, kw_only=True)
class ReaderSpec(ModelSpec):
    """A model that reads lines of text. Its input has a fixed height; `size` is the largest, (width, height)."""

    alphabet: str = ""
    """The characters of the classes from 1 on; class 0 is CTC's blank."""
    trained_width: int = 0
    """A line that stands alone, which no detector cut out, lies on an input at least so wide, in pixels."""

    @abstractmethod
    def width(self, aspect: float) -> int:
        """The input's width in pixels for a line of that aspect ratio, width / height."""

    @abstractmethod
    def place(self, text: Pixels, width: int) -> tuple[Pixels, int]:
        """A line's picture, uint8 [h, w, 3] → the input, uint8 [size[1], width, 3], and how wide the line is on it."""

    @abstractmethod
    def read(self, outputs: Outputs) -> list[Line]:
        """Raw outputs of a batch of n lines → what the n lines say."""


@dataclass(frozen=True, kw_only=True)
class NetworkSpec(ModelSpec):
    """A model whose network is written in PyTorch, so that every backend can run it.

    conversion: how TensorRT gets the network. "torch2trt": by that package's converters of PyTorch's functions; "onnx":
    by an ONNX file and TensorRT's parser, for networks with functions that torch2trt does not know.
    """

    conversion: Literal["torch2trt", "onnx"] = "torch2trt"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.conversion not in ("torch2trt", "onnx"):
            raise BadSpec(f"model {self.name}: conversion must be torch2trt or onnx, not {self.conversion!r}")

    @abstractmethod
    def architecture(self) -> nn.Module:
        """The network in PyTorch, untrained: float32 [n, 3, height, width] → a tuple in the order of `outputs`."""

    @abstractmethod
    def load_weights(self, network: nn.Module, *paths: Path) -> None:
        """Load the weight files into that network, strictly. Raises BadWeights, naming what does not fit."""

    def network(self, *weights: Path) -> nn.Module:
        """The network with the weights of those files, ready to run. Raises BadWeights when one does not fit."""
        network = self.architecture()
        self.load_weights(network, *weights)
        return network.eval()


@dataclass(frozen=True, kw_only=True)
class OnnxSpec(ModelSpec):
    """A model that is known only as an ONNX file, its one weight file.

    layout: "NCHW" or "NHWC", the axes of the file's own input. best_class: replace the file's one output, probabilities
    [n, steps, classes], by two: the best class of each step and its probability. So the probabilities of thousands of
    characters never leave the engine.
    """

    layout: ClassVar[Literal["NCHW", "NHWC"]] = "NCHW"
    best_class: ClassVar[bool] = False


def _convert(value: Any, kind: type) -> Any:
    if kind is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"expected {kind.__name__}, not {value!r}")
    return value


def import_spec(path: str) -> ModelSpec:
    """The spec at "package.module:NAME": a ModelSpec, or a class of one that needs no arguments.

    Raises BadSpec when there is no such thing, and ImportError when that module lacks a package of its own.
    """
    module_name, _, name = path.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        if isinstance(error, ImportError) and not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise BadSpec(f"no model at {path!r}: {error}") from error
    if isinstance(found, type):
        try:
            found = found()
        except TypeError as error:
            raise BadSpec(f"{path!r} cannot be made without arguments: {error}") from error
    if not isinstance(found, ModelSpec):
        raise BadSpec(f"{path!r} is no ModelSpec but {type(found).__name__}")
    return found

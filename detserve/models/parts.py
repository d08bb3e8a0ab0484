"""Parts: models of several networks, each an engine of its own, with work between them that no one graph holds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Detections, Pixels
from detserve.core.letterbox import Letterbox
from detserve.models.spec import ModelSpec, NetworkSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    Run = Callable[[Tensor], Sequence[Tensor]]
    """One network, on whatever runs it: its input → its outputs in the order of its spec."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What one request wants of a model. conf: least confidence; iou: overlap above which the weaker of two boxes of a
    class goes; most: at most so many detections; masks: whether it wants them."""

    conf: float
    iou: float
    most: int
    masks: bool = True


@dataclass(frozen=True, kw_only=True)
class PartSpec(NetworkSpec):
    """One network of such a model.

    form: the shape of one input, None where it is open; pixels: whether that is uint8, else float32; largest: the shape
    of the largest input; sample: of one that it is traced with; at_once: how many inputs go through together; make: the
    network, untrained; weigh: weight files → all networks of the model, of which this is `part`.
    """

    dynamic: ClassVar[bool] = True

    form: tuple[int | None, ...]
    pixels: bool
    largest: tuple[int, ...]
    sample: tuple[int, ...]
    make: Callable[[], nn.Module]
    weigh: Callable[..., Mapping[str, nn.Module]]
    part: str
    at_once: int

    @property
    def together(self) -> int:
        """How many go through at once."""
        return self.at_once

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Of one input."""
        return self.form

    @property
    def input_type(self) -> type[np.generic]:
        """Pixels, or what another part gave."""
        return np.uint8 if self.pixels else np.float32

    def blank(self, n: int) -> NDArray[Any]:
        """The largest input, n times."""
        return np.zeros((n, *self.largest), self.input_type)

    def example(self, n: int) -> NDArray[Any]:
        """A small input, n times."""
        return np.zeros((n, *self.sample), self.input_type)

    def accepts(self, width: int, height: int) -> bool:
        """Whether the network accepts an input of that size; regions have one."""
        return not self.pixels or all(
            0 < side <= most and side % self.stride == 0
            for side, most in zip((height, width), (max(self.largest),) * 2, strict=True)
        )

    def architecture(self) -> nn.Module:
        """The network, untrained."""
        return self.make()

    def load_weights(self, network: nn.Module, *paths: Path) -> None:
        """Load this part's share of the model's weight files. Raises BadWeights when they do not fit the model."""
        network.load_state_dict(self.weigh(*paths)[self.part].state_dict())


@dataclass(frozen=True, kw_only=True)
class PartedSpec(ModelSpec):
    """A model of several networks that finds things in pictures. It takes one picture at a time."""

    dynamic: ClassVar[bool] = True
    max_pixels: ClassVar[int] = 50_000_000
    """Larger pictures are refused: its worker is large as it is, and a picture is decoded whole for it."""

    @property
    def has_depth(self) -> bool:
        """Whether it wants a depth map beside each picture."""
        return False

    @property
    @abstractmethod
    def channels_of_canvas(self) -> int:
        """How many channels a canvas has."""

    @abstractmethod
    def parts(self) -> dict[str, PartSpec]:
        """Its networks by name; the first takes the picture."""

    @abstractmethod
    def networks(self, *weights: Path) -> dict[str, nn.Module]:
        """The networks with the weights of those files, ready to run. Raises BadWeights when one does not fit."""

    @abstractmethod
    def planes(self, rgb: Pixels, depth: NDArray[Any] | None) -> Pixels:
        """What is laid on the canvas: colours, uint8 [h, w, 3], and depth in its own units → uint8 [h, w, channels]."""

    @abstractmethod
    def draw(self, planes: Pixels, letterbox: Letterbox, canvas: Pixels) -> None:
        """Lay those planes on a canvas, uint8 [height, width, canvas channels]."""

    @abstractmethod
    def detect(self, run: Mapping[str, Run], canvas: Pixels, wish: Wish) -> Detections:
        """What is on one canvas, in its pixels, suppressed and best first."""

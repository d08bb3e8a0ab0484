"""Mask R-CNN on a ResNet-50 with a feature pyramid: objects with their masks. Its weights are the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Detections, Pixels
from detserve.core.letterbox import Letterbox
from detserve.core.masks import Masks
from detserve.errors import BadSpec
from detserve.models.maskrcnn import categories, placing
from detserve.models.maskrcnn.convention import CONVENTIONS, Convention
from detserve.models.parts import PartedSpec, PartSpec, Wish
from detserve.models.spec import Weights

if TYPE_CHECKING:
    from torch import nn

    from detserve.models.parts import Run

STRIDE, MOST_SIDE = 32, 2560
MOST_DETECTIONS = 100
"""At most so many objects of a picture, whatever a request asks for: each has a run of the mask head, and a mask."""
LEVELS = (4, 5)


@dataclass(frozen=True, kw_only=True)
class MaskRcnn(PartedSpec):
    """One Mask R-CNN.

    size: the square that every input fits into, which bounds the memory; min_size: what the picture's shorter side is
    scaled to, in pixels, max_size: and the longer one at most, 0 for no bound but `size`. convention: "torchvision" or
    "detectron2"; stem: "colour", "four" (depth as a fourth channel) or "two" (a stem for depth); levels: 5 for
    proposals on p2 to p6, 4 for p2 to p5. categories, category_ids: of the network's columns, see `categories`.
    frozen_epsilon: of batch norms that torchvision froze: 0 as in its published weights.

    Depth is in units of `depth_scale` metres, 0 being no measurement; the range from `depth_low` to `depth_high` metres
    becomes 0 to 255, of which the network sees (value - depth_mean) / depth_std.
    """

    min_size: int = 800
    max_size: int = 1333
    convention: Literal["torchvision", "detectron2"] = "torchvision"
    stem: Literal["colour", "four", "two"] = "colour"
    levels: int = 5
    categories: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()
    frozen_epsilon: float = 0.0
    depth_scale: float = 0.001
    depth_low: float = 0.0
    depth_high: float = 10.0
    depth_mean: float = 127.5
    depth_std: float = 127.5

    def __post_init__(self) -> None:
        super().__post_init__()

        def check(holds: bool, rule: str) -> None:
            if not holds:
                raise BadSpec(f"model {self.name}: {rule}")

        side = self.size[0]
        check(side == self.size[1] <= MOST_SIDE, f"size {self.size} must be a square of at most {MOST_SIDE} pixels")
        check(STRIDE <= self.min_size <= side, f"min_size {self.min_size} must lie between {STRIDE} and size, {side}")
        check(
            self.max_size == 0 or self.max_size >= self.min_size, f"max_size {self.max_size} must be 0 or >= min_size"
        )
        check(self.convention in CONVENTIONS, f"convention must be {' or '.join(CONVENTIONS)}, not {self.convention!r}")
        check(self.stem in ("colour", "four", "two"), f"stem must be colour, four or two, not {self.stem!r}")
        check(
            self.stem != "two" or self.convention == "detectron2", "two stems there are in detectron2's convention only"
        )
        most = MOST_DETECTIONS
        check(
            self.max_detections <= most,
            f"max_detections {self.max_detections} must be at most {most}: --max-detections {most}",
        )
        check(self.levels in LEVELS, f"levels must be 4 or 5, not {self.levels}")
        check(0 <= self.depth_low < self.depth_high, "depth_low must be below depth_high")
        check(self.depth_scale > 0 and self.depth_std > 0, "depth_scale and depth_std must be above 0")
        check(self.frozen_epsilon >= 0, "frozen_epsilon must not be below 0")
        # So that a name or an id of the wrong kind is found here, and not by a request.
        check(all(isinstance(name, str) for name in self.categories), "categories must be names")
        check(all(isinstance(number, int) for number in self.category_ids), "category_ids must be whole numbers")
        categories.Categories(self.categories, self.category_ids)

    @property
    def rules(self) -> Convention:
        """The convention in full."""
        return CONVENTIONS[self.convention]

    @property
    def has_depth(self) -> bool:
        """Whether it wants a depth map."""
        return self.stem != "colour"

    @property
    def channels_of_canvas(self) -> int:
        """Colours, depth if any, and where the picture lies."""
        return 5 if self.has_depth else 4

    def letterbox(self, picture: tuple[int, int]) -> Letterbox:
        """Where a picture of that (width, height) lies on its input: at the top left."""
        longest = min(self.max_size or self.size[0], self.size[0])
        return placing.letterbox(picture, self.min_size, longest, self.rules)

    def accepts(self, width: int, height: int) -> bool:
        """Whether the network accepts an input of that size, in pixels."""
        return all(0 < side <= self.size[0] and side % STRIDE == 0 for side in (width, height))

    def planes(self, rgb: Pixels, depth: NDArray[Any] | None) -> Pixels:
        """Colours and, where it has depth, that as 8 bits behind them."""
        if depth is None:
            return rgb
        planes = np.empty((*rgb.shape[:2], 4), np.uint8)
        planes[..., :3] = rgb
        bounds = (self.depth_low, self.depth_high)
        placing.depth_plane(depth, self.depth_scale, bounds, self.stem == "two", planes[..., 3])
        return planes

    def draw(self, planes: Pixels, letterbox: Letterbox, canvas: Pixels) -> None:
        """Resize as the convention does, and lay on the canvas."""
        placing.draw(planes, letterbox, canvas, self.rules)

    def detect(self, run: Mapping[str, Run], canvas: Pixels, wish: Wish) -> Detections:
        """What is on one canvas, whose last channel tells where the picture lies."""
        import torch

        from detserve.models.maskrcnn import stages

        bounded = replace(wish, most=min(wish.most, MOST_DETECTIONS))
        with torch.inference_mode():
            found = stages.detect(run, torch.from_numpy(canvas[None]), placing.inner(canvas), self.rules, bounded)
            boxes, scores, columns = (each.cpu().numpy() for each in found[:3])
            masks = None if found.masks is None else Masks(found.masks.cpu().numpy(), boxes, self.rules.paste)
        return Detections(
            boxes,
            scores,
            labels=tuple(self.categories[column] for column in columns),
            label_ids=np.array([self.category_ids[column] for column in columns], np.int64),
            masks=masks,
        )

    def parts(self) -> dict[str, PartSpec]:
        """Backbone to proposals, box head, mask head."""
        from detserve.models.maskrcnn.network import BOX_SIDE, MASK_SIDE, PYRAMID
        from detserve.models.maskrcnn.stages import BOXES_AT_ONCE, MASKS_AT_ONCE

        maps = tuple(f"p{i}" for i in range(2, 6))
        searched = [f"{kind}_p{i}" for kind in ("logits", "deltas") for i in range(2, 2 + self.levels)]
        side, channels = self.size[0], self.channels_of_canvas
        short = -(-min(self.min_size, side) // STRIDE) * STRIDE
        long = min(-(-(self.max_size or side) // STRIDE) * STRIDE, side)
        features = self._part(
            "features",
            outputs=(*maps, *searched),
            form=(None, None, channels),
            pixels=True,
            largest=(short, long, channels),
            sample=(64, 96, channels),
            at_once=1,
        )
        regions = {
            "boxes": (BOX_SIDE, BOXES_AT_ONCE, ("scores", "deltas")),
            "masks": (MASK_SIDE, MASKS_AT_ONCE, ("masks",)),
        }
        heads = {
            name: self._part(
                name,
                outputs=outputs,
                form=(square, square, PYRAMID),
                pixels=False,
                largest=(square, square, PYRAMID),
                sample=(square, square, PYRAMID),
                at_once=at_once,
            )
            for name, (square, at_once, outputs) in regions.items()
        }
        return {"features": features, **heads}

    def _part(self, part: str, **form: Any) -> PartSpec:
        return PartSpec(
            name=f"{self.name} {part}",
            task=self.task,
            weights=self.weights,
            size=self.size,
            conversion="onnx",
            make=partial(self._network, part),
            weigh=self.networks,
            part=part,
            **form,
        )

    def _network(self, part: str) -> nn.Module:
        """One of the networks, untrained."""
        from detserve.models.maskrcnn.network import BoxHead, Features, MaskHead

        classes = len(self.categories)
        first = self.rules.first_label
        if part == "boxes":
            return BoxHead(classes + 1, classes + first)
        if part == "masks":
            return MaskHead(classes + first)
        return Features(
            self.stem,
            (*self.mean, *((self.depth_mean,) if self.has_depth else ())),
            (*self.std, *((self.depth_std,) if self.has_depth else ())),
            reverse=self.channels == "BGR",
            levels=self.levels,
            stride_in_3x3=self.rules.stride_in_3x3,
        )

    def networks(self, *weights: Path) -> dict[str, nn.Module]:
        """All three with the weights of one checkpoint. Raises BadWeights when it does not fit."""
        from detserve.models.arrays import read_arrays
        from detserve.models.maskrcnn import names

        networks = {part: self._network(part) for part in ("features", "boxes", "masks")}
        names.load(networks, read_arrays(weights[0]), weights[0], self.rules, self.stem, self.frozen_epsilon)
        return {part: network.eval() for part, network in networks.items()}


TORCHVISION_INPUT: dict[str, Any] = {
    "mean": (0.485 * 255, 0.456 * 255, 0.406 * 255),
    "std": (0.229 * 255, 0.224 * 255, 0.225 * 255),
}
DETECTRON2_INPUT: dict[str, Any] = {"channels": "BGR", "mean": (103.53, 116.28, 123.675)}


def _spec(name: str, convention: Literal["torchvision", "detectron2"], origin: str, **settings: Any) -> MaskRcnn:
    licence = {"torchvision": "BSD-3-Clause", "detectron2": "Apache-2.0"}[convention]
    known = categories.coco(gaps=convention == "torchvision").settings()
    defaults = TORCHVISION_INPUT if convention == "torchvision" else DETECTRON2_INPUT
    return MaskRcnn(
        name=name,
        task="object",
        weights=Weights(origin=origin, licence=licence),
        outputs=("boxes", "scores", "labels", "masks"),
        size=(1344, 1344),
        fill=0,
        conf=0.5,
        iou=0.5,
        max_detections=100,
        convention=convention,
        **{**known, **defaults, **settings},
    )


SPECS = (
    _spec("maskrcnn-r50-fpn", "torchvision", "your own state dict of torchvision's maskrcnn_resnet50_fpn"),
    _spec(
        "maskrcnn-r50-fpn-rgbd",
        "torchvision",
        "your own state dict of torchvision's maskrcnn_resnet50_fpn with a first layer of four channels",
        stem="four",
        depth_mean=0.5 * 255,
        depth_std=0.25 * 255,
    ),
    _spec("maskrcnn-d2-r50-fpn", "detectron2", "your own checkpoint of detectron2's mask_rcnn_R_50_FPN, .pth or .pkl"),
    _spec(
        "maskrcnn-d2-r50-fpn-rgbd",
        "detectron2",
        "your own checkpoint of detectron2's mask_rcnn_R_50_FPN with a first layer of four channels",
        stem="four",
        depth_mean=127.5,
        depth_std=2.0,
    ),
    _spec(
        "maskrcnn-d2-r50-fpn-two-stems",
        "detectron2",
        "your own checkpoint of detectron2's mask_rcnn_R_50_FPN with a stem for colour and one for depth",
        stem="two",
        levels=4,
        min_size=384,
        max_size=0,
        mean=(108.609, 113.435, 107.669),
        depth_low=1.0,
        depth_high=1.5,
        depth_mean=150.209,
        depth_std=1.0,
    ),
)

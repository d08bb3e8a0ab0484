"""Detectron2Yaml: the YAML of a model of detectron2's, read as settings of ours.

What it asks for that is not served is refused by its name; what is not named there is as in detectron2's own defaults
for mask_rcnn_R_50_FPN.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from detserve.errors import BadSpec

RGBD = "RGBDRCNN"
"""The architecture of colour and depth in a stem each, of a server that has it beside detectron2's own."""

SERVED: Mapping[str, tuple[Any, ...]] = {
    "MODEL.META_ARCHITECTURE": ("GeneralizedRCNN", RGBD),
    "MODEL.BACKBONE.NAME": ("build_resnet_fpn_backbone", "build_rgbd_resnet_fpn_backbone"),
    "MODEL.RESNETS.DEPTH": (50,),
    "MODEL.RESNETS.NORM": ("FrozenBN", "BN"),
    "MODEL.RESNETS.STRIDE_IN_1X1": (True,),
    "MODEL.RESNETS.NUM_GROUPS": (1,),
    "MODEL.RESNETS.WIDTH_PER_GROUP": (64,),
    "MODEL.RESNETS.RES5_DILATION": (1,),
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": ([False, False, False, False],),
    "MODEL.RESNETS.OUT_FEATURES": (["res2", "res3", "res4", "res5"],),
    "MODEL.FPN.IN_FEATURES": (["res2", "res3", "res4", "res5"],),
    "MODEL.FPN.NORM": ("",),
    "MODEL.FPN.FUSE_TYPE": ("sum",),
    "MODEL.FPN.OUT_CHANNELS": (256,),
    "MODEL.PROPOSAL_GENERATOR.NAME": ("RPN",),
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": (0,),
    "MODEL.RPN.HEAD_NAME": ("StandardRPNHead",),
    "MODEL.RPN.BBOX_REG_WEIGHTS": ([1, 1, 1, 1],),
    "MODEL.RPN.NMS_THRESH": (0.7,),
    "MODEL.RPN.PRE_NMS_TOPK_TEST": (1000,),
    "MODEL.RPN.POST_NMS_TOPK_TEST": (1000,),
    "MODEL.ANCHOR_GENERATOR.NAME": ("DefaultAnchorGenerator",),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": ([[0.5, 1.0, 2.0]],),
    "MODEL.ANCHOR_GENERATOR.OFFSET": (0,),
    "MODEL.ROI_HEADS.NAME": ("StandardROIHeads",),
    "MODEL.ROI_HEADS.IN_FEATURES": (["p2", "p3", "p4", "p5"],),
    "MODEL.ROI_BOX_HEAD.NAME": ("FastRCNNConvFCHead",),
    "MODEL.ROI_BOX_HEAD.NUM_FC": (2,),
    "MODEL.ROI_BOX_HEAD.NUM_CONV": (0,),
    "MODEL.ROI_BOX_HEAD.FC_DIM": (1024,),
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": (7,),
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": (0,),
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": ("ROIAlignV2",),
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": (False,),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": ([10, 10, 5, 5],),
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": (False,),
    "MODEL.ROI_MASK_HEAD.NAME": ("MaskRCNNConvUpsampleHead",),
    "MODEL.ROI_MASK_HEAD.NUM_CONV": (4,),
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": (14,),
    "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": (0,),
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": ("ROIAlignV2",),
    "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": (False,),
    "MODEL.MASK_ON": (True,),
    "MODEL.KEYPOINT_ON": (False,),
    "MODEL.LOAD_PROPOSALS": (False,),
    "TEST.AUG.ENABLED": (False,),
}
"""What the YAML may say of things that change the answers, and nothing else than this."""
MOST_BASES = 8
ANCHOR_SIZES = {5: [[32], [64], [128], [256], [512]], 4: [[32], [64], [128], [256]]}
LEVELS = {5: ["p2", "p3", "p4", "p5", "p6"], 4: ["p2", "p3", "p4", "p5"]}
MEANS = [103.53, 116.28, 123.675]
"""detectron2's own."""

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Detectron2Yaml:
    """path: of the file; values: what it says, and the files that it is built on, as "MODEL.RESNETS.DEPTH": 50."""

    path: Path
    values: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Detectron2Yaml:
        """That file. Raises BadSpec when it cannot be read, and for what is not served."""
        found = cls(path, _with_bases(path))
        for key, served in SERVED.items():
            if key in found.values and found.values[key] not in served:
                found.refuse(key, f"it may be {' or '.join(map(repr, served))}")
        return found

    @property
    def threshold(self) -> float | None:
        """The least confidence, None where it is not named."""
        return self.number("MODEL.ROI_HEADS.SCORE_THRESH_TEST", float)

    def model(self, depth: bool) -> tuple[str, dict[str, Any]]:
        """The model and how its spec is changed; depth: whether it is to have any. Raises BadSpec."""
        means = self.numbers("MODEL.PIXEL_MEAN", MEANS)
        stds = self.numbers("MODEL.PIXEL_STD", [1.0] * len(means))
        if len(means) != len(stds) or len(means) not in (3, 4):
            raise BadSpec(
                f"{self.path}: MODEL.PIXEL_MEAN and PIXEL_STD have {len(means)} and {len(stds)} values, where 3 or 4 "
                "are served"
            )
        settings: dict[str, Any] = {"levels": self._levels(), "channels": self._order()}
        settings |= {"mean": means[:3], "std": stds[:3]}
        four = len(means) == 4
        for name, key, last in (("depth_mean", "MEAN", means[3:]), ("depth_std", "STD", stds[3:])):
            values = last or self.numbers(f"MODEL.DEPTH_PIXEL_{key}", [])
            if depth and values:
                settings[name] = values[0]
        found = {
            "min_size": self.number("INPUT.MIN_SIZE_TEST", int),
            "max_size": self.number("INPUT.MAX_SIZE_TEST", int),
            "max_detections": self.number("TEST.DETECTIONS_PER_IMAGE", int),
            "iou": self.number("MODEL.ROI_HEADS.NMS_THRESH_TEST", float),
        }
        settings |= {name: value for name, value in found.items() if value is not None}
        if not depth:
            if four or self.values.get("MODEL.META_ARCHITECTURE") == RGBD:
                seen = "MODEL.PIXEL_MEAN has four values" if four else f"MODEL.META_ARCHITECTURE is {RGBD}"
                raise BadSpec(f"{self.path}: DETECTION_TYPE is of colour alone, but {seen}")
            return "maskrcnn-d2-r50-fpn", settings
        return f"maskrcnn-d2-r50-fpn-{'rgbd' if four else 'two-stems'}", settings

    def number(self, key: str, kind: type[Number]) -> Number | None:
        """A number, None where the key is not there. Raises BadSpec for anything else."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, kind)):
            self.refuse(key, "it must be a whole number" if kind is int else "it must be a number")
        return kind(value)

    def numbers(self, key: str, default: list[float]) -> list[float]:
        """A list of numbers. Raises BadSpec for anything else."""
        values = self.values.get(key, default)
        if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
            self.refuse(key, "it must be a list of numbers")
        return list(map(float, values))

    def refuse(self, key: str, rule: str) -> NoReturn:
        """Raise BadSpec for the value of that key."""
        raise BadSpec(f"{self.path}: {key} {self.values[key]!r} is not served; {rule}")

    def _levels(self) -> int:
        features = self.values.get("MODEL.RPN.IN_FEATURES", LEVELS[5])
        sizes = self.values.get("MODEL.ANCHOR_GENERATOR.SIZES", ANCHOR_SIZES[5 if features == LEVELS[5] else 4])
        levels = next((n for n in LEVELS if features == LEVELS[n] and sizes == ANCHOR_SIZES[n]), None)
        if levels is None:
            raise BadSpec(
                f"{self.path}: proposals on {features} with anchors of {sizes} are not served: p2 to p5 or p6, of 32 "
                "and up"
            )
        return levels

    def _order(self) -> str:
        order = self.values.get("INPUT.FORMAT", "BGR")
        if order not in ("BGR", "RGB"):
            self.refuse("INPUT.FORMAT", "it may be BGR or RGB")
        return str(order)


def _with_bases(path: Path, deep: int = 0) -> dict[str, Any]:
    """The keys of a YAML over those of the one that it is built on."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadSpec(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(document, Mapping):
        raise BadSpec(f"{path}: is no configuration of detectron2")
    found = _flat(document)
    base = found.pop("_BASE_", None)
    if base is not None:
        inherited = path.parent / str(base)
        if not inherited.is_file() or deep > MOST_BASES:
            raise BadSpec(f"{path}: its _BASE_ {base} is not beside it: save the whole with cfg.dump()")
        found = {**_with_bases(inherited, deep + 1), **found}
    return found


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in document.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": _plain(value)}
    return found


def _plain(value: Any) -> Any:
    """Tuples as lists; detectron2's own files have them in Python's form, which YAML takes for text."""
    if isinstance(value, str) and value.startswith("("):
        try:
            return list(ast.literal_eval(value))
        except (ValueError, SyntaxError, TypeError):
            return value
    return value

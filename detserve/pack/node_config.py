"""NodeConfig: the configuration of a server of detectron2's models, read as what repack.py would be told.

Such a server keeps node_config.json beside the files that it names: weights, detectron2's YAML, categories. What the
YAML asks for that is not served is refused by its name; what is not named there is as in detectron2's own defaults for
mask_rcnn_R_50_FPN.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from detserve.errors import BadSpec

KEYS = ("DETECTION_TYPE", "MODEL_WEIGHT", "CONFIG_FILE", "MIN_SIZE", "SCORE_THRESH_TEST", "CATEGORY_FILE")
NEEDED = ("MODEL_WEIGHT", "CONFIG_FILE", "CATEGORY_FILE")
DEPTH_KEYS = {"DEPTH_MIN": "depth_low", "DEPTH_MAX": "depth_high"}
"""The range of depth, in millimetres → the setting of the spec, in metres. For models with depth alone."""
TYPES = {"rgb": False, "color": False, "colour": False, "rgbd": True, "rgb-d": True, "rgb_d": True}
TYPES |= {"rgbmaskrcnntorchservicer": False, "rgbdmaskrcnntorchservicer": True}
"""DETECTION_TYPE in small letters → whether it has depth: plainly said, or by the class that answered."""
ENGINE_TYPE = "tensorrtservicer"
ENGINE_MESSAGE = (
    "{}: {} has a TensorRT engine of another program, which is not read: name the checkpoint that it was made from, "
    "with a DETECTION_TYPE of PyTorch's, and pack it with --backend tensorrt"
)

SERVED: Mapping[str, tuple[Any, ...]] = {
    "MODEL.META_ARCHITECTURE": ("GeneralizedRCNN", "RGBDRCNN"),
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
    "MODEL.RPN.HEAD_NAME": ("StandardRPNHead",),
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": (0,),
    "MODEL.RPN.BBOX_REG_WEIGHTS": ([1.0, 1.0, 1.0, 1.0],),
    "MODEL.RPN.NMS_THRESH": (0.7,),
    "MODEL.RPN.PRE_NMS_TOPK_TEST": (1000,),
    "MODEL.RPN.POST_NMS_TOPK_TEST": (1000,),
    "MODEL.ANCHOR_GENERATOR.NAME": ("DefaultAnchorGenerator",),
    "MODEL.ANCHOR_GENERATOR.OFFSET": (0.0,),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": ([[0.5, 1.0, 2.0]],),
    "MODEL.ROI_HEADS.NAME": ("StandardROIHeads",),
    "MODEL.ROI_HEADS.IN_FEATURES": (["p2", "p3", "p4", "p5"],),
    "MODEL.ROI_BOX_HEAD.NAME": ("FastRCNNConvFCHead",),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": ([10.0, 10.0, 5.0, 5.0],),
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": (False,),
    "MODEL.ROI_BOX_HEAD.NUM_FC": (2,),
    "MODEL.ROI_BOX_HEAD.NUM_CONV": (0,),
    "MODEL.ROI_BOX_HEAD.FC_DIM": (1024,),
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": (7,),
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": (0,),
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": ("ROIAlignV2",),
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": (False,),
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


def read(path: Path) -> dict[str, Any]:
    """What repack.py would be told: model, weights, categories, conf and settings of the spec.

    Raises BadSpec for keys that are missing or not known, and for what is not served.
    """
    node = _json(path)
    kind = str(node.get("DETECTION_TYPE", "rgb"))
    if kind.lower().endswith(ENGINE_TYPE):
        raise BadSpec(ENGINE_MESSAGE.format(path, kind))
    if kind.lower() not in TYPES:
        raise BadSpec(f"{path}: DETECTION_TYPE {kind!r} is not served; it may be {', '.join(TYPES)}")
    depth = TYPES[kind.lower()]
    known = (*KEYS, *DEPTH_KEYS) if depth else KEYS
    unknown = sorted(set(node) - set(known))
    missing = [key for key in NEEDED if key not in node]
    if unknown or missing:
        faults = [f"unknown: {', '.join(unknown)}"] * bool(unknown) + [f"missing: {', '.join(missing)}"] * bool(missing)
        raise BadSpec(f"{path}: {'; '.join(faults)}; it has {', '.join(known)}")
    yaml = path.parent / str(node["CONFIG_FILE"])
    config = detectron2_settings(yaml)
    model, settings = _model(yaml, depth, config)
    if "MIN_SIZE" in node:
        settings["min_size"] = _number(path, node, "MIN_SIZE", int)
    for key, name in DEPTH_KEYS.items():
        if key in node:
            settings[name] = _number(path, node, key, float) / 1000
    told = {
        "model": model,
        "weights": str(path.parent / str(node["MODEL_WEIGHT"])),
        "categories": str(path.parent / str(node["CATEGORY_FILE"])),
        "settings": settings,
    }
    for where, given, key in ((path, node, "SCORE_THRESH_TEST"), (yaml, config, "MODEL.ROI_HEADS.SCORE_THRESH_TEST")):
        if key in given:
            return {**told, "conf": _number(where, given, key, float)}
    return told


def detectron2_settings(path: Path) -> dict[str, Any]:
    """The keys of detectron2's YAML as "MODEL.RESNETS.DEPTH" and so on. Raises BadSpec for what is not served."""
    found = _with_bases(path)
    for key, served in SERVED.items():
        if key in found and _plain(found[key]) not in served:
            raise BadSpec(f"{path}: {key} {found[key]!r} is not served; it may be {' or '.join(map(repr, served))}")
    return found


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


def _model(path: Path, depth: bool, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The model of that configuration, and how its spec is changed. path: of the YAML."""
    from detserve.models.maskrcnn.spec import MOST_DETECTIONS  # imports numpy, which `--show` does without

    settings: dict[str, Any] = {}
    features = _plain(config.get("MODEL.RPN.IN_FEATURES", LEVELS[5]))
    sizes = _plain(config.get("MODEL.ANCHOR_GENERATOR.SIZES", ANCHOR_SIZES[5 if features == LEVELS[5] else 4]))
    levels = next((n for n in LEVELS if features == LEVELS[n] and sizes == ANCHOR_SIZES[n]), None)
    if levels is None:
        raise BadSpec(f"proposals on {features} with anchors of {sizes} are not served: p2 to p5 or p6, of 32 and up")
    settings["levels"] = levels
    means = _number(path, {"MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675], **config}, "MODEL.PIXEL_MEAN", _floats)
    stds = _number(path, {"MODEL.PIXEL_STD": [1.0] * len(means), **config}, "MODEL.PIXEL_STD", _floats)
    if len(means) != len(stds) or len(means) not in (3, 4):
        raise BadSpec(
            f"MODEL.PIXEL_MEAN and PIXEL_STD have {len(means)} and {len(stds)} values, where 3 or 4 are served"
        )
    settings |= {"mean": means[:3], "std": stds[:3], "channels": _order(config)}
    if len(means) == 4:
        settings |= {"depth_mean": means[3], "depth_std": stds[3]}
    for key, name in (("INPUT.MIN_SIZE_TEST", "min_size"), ("INPUT.MAX_SIZE_TEST", "max_size")):
        if key in config:
            settings[name] = _number(path, config, key, int)
    if (key := "MODEL.ROI_HEADS.NMS_THRESH_TEST") in config:
        settings["iou"] = _number(path, config, key, float)
    if (key := "TEST.DETECTIONS_PER_IMAGE") in config:
        settings["max_detections"] = _number(path, config, key, int)
        if not 1 <= settings["max_detections"] <= MOST_DETECTIONS:
            raise BadSpec(f"{path}: {key} {config[key]} is not served; at most {MOST_DETECTIONS} objects are answered")
    if not depth:
        if len(means) == 4:
            raise BadSpec("DETECTION_TYPE is RGB, but MODEL.PIXEL_MEAN has four values")
        return "maskrcnn-d2-r50-fpn", settings
    if len(means) == 4:
        return "maskrcnn-d2-r50-fpn-rgbd", settings
    return "maskrcnn-d2-r50-fpn-two-stems", settings


def _order(config: Mapping[str, Any]) -> str:
    order = str(config.get("INPUT.FORMAT", "BGR"))
    if order not in ("BGR", "RGB"):
        raise BadSpec(f"INPUT.FORMAT {order!r} is not served; it may be BGR or RGB")
    return order


def _json(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadSpec(f"{path}: {error}") from error
    if not isinstance(document, Mapping):
        raise BadSpec(f"{path}: is no JSON object of {', '.join(KEYS)}")
    return document


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in document.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _floats(values: Any) -> list[float]:
    if isinstance(values, str):
        raise ValueError(values)
    return [float(value) for value in values]


def _number(path: Path, given: Mapping[str, Any], key: str, kind: Callable[[Any], Any]) -> Any:
    try:
        return kind(given[key])
    except (TypeError, ValueError):
        what = "a list of numbers" if kind is _floats else "a number"
        raise BadSpec(f"{path}: {key} must be {what}, not {given[key]!r}") from None

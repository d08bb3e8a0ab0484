"""NodeConfig: the configuration of a server of detectron2's models, read as what repack.py would be told.

Such a server keeps node_config.json beside the files that it names: weights, detectron2's YAML, categories.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detserve.errors import BadSpec
from detserve.pack.detectron2_yaml import Detectron2Yaml

NEEDED = ("MODEL_WEIGHT", "CONFIG_FILE", "CATEGORY_FILE")
RANGE = {"DEPTH_MIN": "depth_low", "DEPTH_MAX": "depth_high"}
"""Bounds of depth in millimetres → settings in metres."""
KEYS = ("DETECTION_TYPE", *NEEDED, "MIN_SIZE", "SCORE_THRESH_TEST", *RANGE)
TYPES = {
    "RGBMaskRCNNTorchServicer": False,
    "RGBDMaskRCNNTorchServicer": True,
    **dict.fromkeys(("rgb", "color", "colour"), False),
    **dict.fromkeys(("rgbd", "rgb-d", "rgb_d"), True),
}
"""DETECTION_TYPE → whether it has depth."""
TENSORRT = "TensorRTServicer"
"""How the names of types end whose weights are in an engine."""


def read(path: Path) -> dict[str, Any]:
    """What repack.py would be told: model, weights, categories, conf and settings of the spec.

    Raises BadSpec for keys that are missing or not known, and for what is not served.
    """
    node = _json(path)
    kind = str(node.get("DETECTION_TYPE", "rgb"))
    if kind.endswith(TENSORRT):
        raise BadSpec(
            f"{path}: {kind} has an engine of TensorRT, out of which no weights can be had: name the node_config.json "
            f"of {kind.replace(TENSORRT, 'TorchServicer')} and pack that with --backend tensorrt"
        )
    has_depth = {name.lower(): depth for name, depth in TYPES.items()}.get(kind.lower())
    if has_depth is None:
        raise BadSpec(f"{path}: DETECTION_TYPE {kind!r} is not served; it may be {', '.join(TYPES)}")
    known = [key for key in KEYS if has_depth or key not in RANGE]
    unknown = sorted(set(node) - set(known))
    missing = [key for key in NEEDED if key not in node]
    if unknown or missing:
        faults = [f"unknown: {', '.join(unknown)}"] * bool(unknown) + [f"missing: {', '.join(missing)}"] * bool(missing)
        raise BadSpec(f"{path}: {'; '.join(faults)}; it has {', '.join(known)}")
    config = Detectron2Yaml.read(path.parent / str(node["CONFIG_FILE"]))
    model, settings = config.model(has_depth)
    if "MIN_SIZE" in node:
        settings["min_size"] = _number(path, node, "MIN_SIZE", int)
    settings |= {name: _number(path, node, key, float) / 1000 for key, name in RANGE.items() if key in node}
    told = {
        "model": model,
        "weights": str(path.parent / str(node["MODEL_WEIGHT"])),
        "categories": str(path.parent / str(node["CATEGORY_FILE"])),
        "settings": settings,
    }
    threshold = config.threshold
    if "SCORE_THRESH_TEST" in node:
        threshold = _number(path, node, "SCORE_THRESH_TEST", float)
    return told if threshold is None else {**told, "conf": threshold}


def _json(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadSpec(f"{path}: {error}") from error
    if not isinstance(document, Mapping):
        raise BadSpec(f"{path}: is no JSON object of {', '.join(KEYS)}")
    return document


def _number(path: Path, node: Mapping[str, Any], key: str, kind: type) -> Any:
    try:
        return kind(node[key])
    except (TypeError, ValueError):
        raise BadSpec(f"{path}: {key} must be a number, not {node[key]!r}") from None

"""The reference outputs of Mask R-CNN, and checkpoints with their deterministic weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detserve import models
from detserve.core.letterbox import Letterbox
from detserve.models.maskrcnn import MaskRcnn
from detserve.models.maskrcnn.stages import PYRAMID_LEVELS, Found, detect
from detserve.models.parts import Wish

NAMES = {
    "maskrcnn_r50_fpn": "maskrcnn-r50-fpn",
    "maskrcnn_r50_fpn_rgbd": "maskrcnn-r50-fpn-rgbd",
    "maskrcnn_d2_r50_fpn": "maskrcnn-d2-r50-fpn",
    "maskrcnn_d2_r50_fpn_rgbd": "maskrcnn-d2-r50-fpn-rgbd",
}
"""File of reference outputs → model."""
ALL = Wish(conf=0.0, iou=0.5, most=20)
DEFAULT = Wish(conf=0.05, iou=0.5, most=100)


@dataclass
class Golden:
    """One file of reference outputs, or a case in it, and the networks that are to give them."""

    meta: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    spec: MaskRcnn
    weights: Path

    @cached_property
    def networks(self) -> Mapping[str, torch.nn.Module]:
        return self.spec.networks(self.weights)

    def input(self, entry: str = "input") -> np.ndarray:
        return np.asarray(eval(f"numpy.random.{self.meta[entry]['numpy']}", {"numpy": np}))

    def found(self, values: np.ndarray, wish: Wish, placed: Letterbox, seen: dict[str, Any] | None = None) -> Found:
        """Run the stages on values that lie on the canvas as floats, [h, w, c] of 0 to 255 in the order RGB(D)."""
        width, height = placed.canvas
        canvas = np.zeros((1, values.shape[2] + 1, height, width), np.float32)
        canvas[0, :-1, : values.shape[0], : values.shape[1]] = values.transpose(2, 0, 1)
        canvas[0, -1, : values.shape[0], : values.shape[1]] = 1
        run = {name: watched(name, network, seen) for name, network in self.networks.items()}
        run["features"] = lambda _: watched("features", self.networks["features"], seen)(torch.from_numpy(canvas))
        blank = torch.zeros(1, height, width, 1)
        return detect(run, blank, placed.inner, self.spec.rules, wish)

    def answer(self, planes: np.ndarray, wish: Wish, seen: dict[str, Any] | None = None) -> Any:
        """From planes, uint8 [h, w, c] of a whole picture, to what is found in its pixels."""
        placed = self.spec.letterbox((planes.shape[1], planes.shape[0]))
        canvas = np.full((placed.canvas[1], placed.canvas[0], planes.shape[2] + 1), 77, np.uint8)
        self.spec.draw(planes, placed, canvas)

        def features(pixels: Tensor) -> Any:
            return watched("features", self.networks["features"], seen)(pixels.permute(0, 3, 1, 2).float())

        run = {**{name: watched(name, network, seen) for name, network in self.networks.items()}, "features": features}
        return placed.invert_detections(self.spec.detect(run, canvas, wish)), canvas


def planar(outputs: Sequence[Tensor]) -> list[np.ndarray]:
    """The outputs of the features, their maps with channels first, as the reference has them."""
    maps, rest = outputs[:PYRAMID_LEVELS], outputs[PYRAMID_LEVELS:]
    return [*(each.permute(0, 3, 1, 2).numpy() for each in maps), *(each.numpy() for each in rest)]


def watched(name: str, network: Any, seen: dict[str, Any] | None) -> Callable[[Tensor], Any]:
    """The network; what goes in and comes out of it is kept in `seen`, of the mask head the first call."""

    def run(x: Tensor) -> Any:
        outputs = network(x)
        if seen is not None and name == "boxes" and name in seen:  # comes in several parts
            before, told = seen[name]
            seen[name] = torch.cat([before, x]), [torch.cat(pair) for pair in zip(told, outputs, strict=True)]
        elif seen is not None:
            seen.setdefault(name, (x, outputs))
        return outputs

    return run


def checkpoint(
    meta: Mapping[str, Any], fill: Callable[..., Any], case: Mapping[str, Any] | None = None
) -> dict[str, Tensor]:
    """The state dict of the reference model, filled; case: of a variant in the same file."""
    shapes = {key: (shape, kind) for key, shape, kind in meta["keys"]}
    if case:
        for key in case.get("keys_removed", []):
            del shapes[key]
        changed = [*case.get("keys_added_or_resized", []), *case.get("keys_that_differ", [])]
        shapes |= {key: (shape, "float32") for key, shape in changed}
    state = {key: torch.zeros(shape, dtype=getattr(torch, kind)) for key, (shape, kind) in shapes.items()}
    if case and "DEPTH_PIXEL_MEAN" in case:
        state["depth_pixel_mean"] += case["DEPTH_PIXEL_MEAN"]
        state["depth_pixel_std"] += case["DEPTH_PIXEL_STD"]
    fill(state, **(case or meta)["fill"])
    return state


def load(
    shared: Path, name: str, fill: Callable[..., Any], folder: Path, case: str | None = None, **settings: Any
) -> Golden:
    meta = json.loads((shared / f"golden/models/{name}.json").read_text())
    arrays = np.load(shared / f"golden/models/{name}.npz")
    path = folder / f"{name}-{case}.pth"
    torch.save(checkpoint(meta, fill, meta[case] if case else None), path)
    model = "maskrcnn-d2-r50-fpn-two-stems" if case == "two_branch" else NAMES[name]
    spec = models.find(model).override(**settings)
    assert isinstance(spec, MaskRcnn)
    return Golden(meta, arrays, spec, path)


__all__ = ["ALL", "DEFAULT", "NAMES", "PYRAMID_LEVELS", "Golden", "checkpoint", "load"]

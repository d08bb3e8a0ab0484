"""Archives of objects for the tests: two Mask R-CNNs on small inputs, with made-up weights."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.fill_objects import fill
from detserve import models
from detserve.models.maskrcnn import MaskRcnn
from detserve.pack.packer import ModelChoice, PackRequest, pack

SMALL = {"min_size": 128, "max_size": 192, "size": (192, 192)}
CASES = {
    "md1": ("maskrcnn-r50-fpn", SMALL),
    "md3": (
        "maskrcnn-d2-r50-fpn-two-stems",
        {"min_size": 64, "size": (640, 640), "categories": ["bolt", "nut", "washer"], "category_ids": [0, 1, 2]},
    ),
}


def pack_into(folder: Path) -> None:
    """Pack md1, of colour, and md3, of colour with depth; their weights stay beside them as NAME.pth."""
    for name, (model, settings) in CASES.items():
        spec = models.find(model).override(**settings)
        assert isinstance(spec, MaskRcnn)
        weights = folder / f"{name}.pth"
        torch.save({"model": fill(spec)}, weights)
        choice = ModelChoice(model=model, settings={**settings, "conf": 0.3}, weights=[str(weights)])
        pack(PackRequest(name=name, detect=choice, out=folder, precision="fp32"))

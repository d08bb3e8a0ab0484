"""Write a checkpoint of Mask R-CNN with made-up weights, the same on every machine: to try md1 where none can be had.

.venv/bin/python -m benchmarks.fill_objects MODEL FILE.pth [CLASSES]

It finds something everywhere, and means nothing by it: each weight is drawn from a random generator that is seeded by
its name.
"""

from __future__ import annotations

import math
import sys
import zlib
from pathlib import Path

import numpy as np
import torch

from detserve import models
from detserve.models.maskrcnn import MaskRcnn
from detserve.models.maskrcnn.names import wanted

LOUDER = {"bbox_pred": 0.2, "anchor_deltas": 0.2, "cls_score": 2.0, "mask_fcn_logits": 6.0, "mask_head.predictor": 6.0}
"""Layers whose weights are scaled, so that proposals, classes and masks differ from one another."""


def fill(spec: MaskRcnn) -> dict[str, torch.Tensor]:
    """A state dict under the names of the model's own project, float32."""
    with torch.device("meta"):
        networks = {name: part.architecture() for name, part in spec.parts().items()}
    state = {}
    for name, shape in wanted(networks, spec.rules, spec.stem).items():
        normal = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        kind = name.rpartition(".")[2]
        norm = any(part in name for part in (".norm.", ".bn", "downsample.1."))
        if "depth_pixel" in name:
            normal = np.full(shape, spec.depth_mean if "mean" in name else spec.depth_std)
        elif kind == "running_var" or (norm and kind == "weight"):
            normal = 1 + 0.1 * np.abs(normal)
        elif kind == "weight":
            # detectron2's pixels go up to 255.
            first = 1 / 64 if "stem" in name and shape[2:] == (7, 7) else 1
            louder = next((factor for part, factor in LOUDER.items() if f"{part}.weight" in name), 1.0)
            # The box head's own deltas stay as they are.
            louder = 1.0 if "box_predictor.bbox_pred" in name else louder
            normal *= louder * first / math.sqrt(math.prod(shape[1:]))
        else:
            normal *= 0.1 if norm else 0.05
        state[name] = torch.from_numpy(normal.astype(np.float32))
    if spec.convention == "torchvision":
        state["backbone.body.bn1.num_batches_tracked"] = torch.tensor(0)  # else they count as frozen, of epsilon 0
    return state


def main() -> None:
    """Write the checkpoint that the command line names."""
    model, path = sys.argv[1], Path(sys.argv[2])
    spec = models.find(model)
    if not isinstance(spec, MaskRcnn):
        sys.exit(f"{model} is no Mask R-CNN")
    if len(sys.argv) > 3:
        count = int(sys.argv[3])
        spec = spec.override(categories=[str(i) for i in range(count)], category_ids=list(range(count)))
    torch.save(fill(spec), path)
    print(f"wrote {path}, {path.stat().st_size / 1e6:.0f} MB of made-up weights for {len(spec.categories)} classes")


if __name__ == "__main__":
    main()

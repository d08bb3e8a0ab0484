"""Runs torch2trt's converters over the networks of detserve on a processor and prints, as JSON, what would be refused.

    python tests/engines/convert.py FOLDER [MODEL ...]

FOLDER holds the package torch2trt. The stand-in beside this file plays TensorRT. A process of its own, because
torch2trt changes PyTorch's functions. Printed: {model: {"problems": [...], "outputs": [[...], ...], "wanted":
[[...], ...]}}, shapes of the outputs as TensorRT and as PyTorch have them, null where the engine's profile is open.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent / "standin"), sys.argv[1]]

import tensorrt  # noqa: E402
import torch  # noqa: E402
from torch2trt import torch2trt  # noqa: E402

from detserve import models  # noqa: E402
from detserve.engines.base import EnginePlan  # noqa: E402
from detserve.engines.shapes import Shapes  # noqa: E402
from detserve.models.spec import ModelSpec, NetworkSpec  # noqa: E402

SIDE = 64
"""Open sides are this long in the example: any will do."""


def convert(spec: NetworkSpec) -> dict[str, list]:
    """What TensorRT would make of one network."""
    shapes = Shapes.of(spec, EnginePlan(precision="fp16", max_batch=8))
    least, most = shapes.nchw(shapes.least), shapes.nchw(shapes.most)
    example = tuple(
        a if a == b else 2 if axis == 0 else SIDE for axis, (a, b) in enumerate(zip(least, most, strict=True))
    )
    network = spec.architecture().eval()
    with torch.no_grad():
        wanted = [list(output.shape) for output in network(torch.zeros(example))]
        torch2trt(
            network,
            [torch.zeros(example)],
            input_names=["pixels"],
            output_names=list(spec.outputs),
            min_shapes=[least],
            opt_shapes=[example],
            max_shapes=[most],
            fp16_mode=True,
        )
    defined = tensorrt.Builder.last.network
    defined.infer()
    if least[0] != most[0]:
        wanted = [[None, *dims[1:]] for dims in wanted]
    if least[2:] != most[2:]:
        wanted = [[*dims[:2], *[None] * len(dims[2:])] for dims in wanted]
    return {"problems": defined.problems, "outputs": [each.dims for each in defined.outputs], "wanted": wanted}


def converted(spec: ModelSpec) -> bool:
    """Whether torch2trt's converters are its way."""
    return isinstance(spec, NetworkSpec) and spec.conversion == "torch2trt"


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = {name: spec for name, spec in models.catalogue().items() if converted(spec)}
    print(json.dumps({name: convert(chosen[name]) for name in sys.argv[2:] or chosen}))

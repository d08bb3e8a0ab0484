"""The building of TensorRT engines: by torch2trt's converters, or by TensorRT's parser from an ONNX file.

What comes out is torch2trt's TRTModule either way; `detserve.engines.trt_runner` runs what is inside.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detserve.engines.base import EnginePlan
from detserve.engines.calibration import Calibration
from detserve.engines.shapes import Shape, Shapes
from detserve.engines.sources.base import INPUT, Source
from detserve.engines.torch_device import network_of
from detserve.errors import EngineRejected
from detserve.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

WORKSPACE = 1 << 30
"""Bytes that a layer may take while it runs. TensorRT 8 has a limit, torch2trt's of 32 MiB; TensorRT 10 has none."""


class CalibrationSet:
    """The pictures as torch2trt's calibrator asks for them: by number, as a list of what the network takes.

    Each is a whole batch of the best shape, which is the one that TensorRT calibrates with.
    """

    def __init__(self, calibration: Calibration, spec: ModelSpec, shape: Shape) -> None:
        from detserve.engines.sources.network import Front

        self.calibration, self.spec, self.shape = calibration, spec, shape
        self.front = Front(spec).cuda()

    def __len__(self) -> int:
        return len(self.calibration.pictures) // self.shape.n or 1

    def __getitem__(self, number: int) -> list[Tensor]:
        import torch

        pictures, n = self.calibration.pictures, self.shape.n
        chosen = [pictures[(number * n + i) % len(pictures)] for i in range(n)]
        canvas = np.full((n, self.shape.height, self.shape.width, 3), self.spec.fill, np.uint8)
        for place, picture in zip(canvas, chosen, strict=True):
            (drawn,) = self.calibration.canvas(picture, self.spec)
            drawn = drawn[: self.shape.height, : self.shape.width]
            place[: drawn.shape[0], : drawn.shape[1]] = drawn
        self.kept = [self.front(torch.from_numpy(canvas).cuda()).contiguous()]  # TensorRT is given the address alone
        torch.cuda.synchronize()  # and reads it on a stream of its own
        return self.kept


def convert(source: Source, plan: EnginePlan, shapes: Shapes, calibration: Calibration | None) -> Any:
    """By torch2trt's converters → its TRTModule. Such engines take floats: torch2trt knows no bytes as an input.

    Raises EngineRejected where a function has no converter, or TensorRT builds nothing.
    """
    import torch
    from torch2trt import torch2trt

    network = network_of(source, "tensorrt").network.cuda().eval()
    learnt = CalibrationSet(calibration, source.spec, shapes.opt) if calibration else None
    try:
        with torch.no_grad():
            module = torch2trt(
                network,
                [torch.zeros(shapes.nchw(shapes.opt), device="cuda")],
                input_names=[INPUT],
                output_names=list(source.spec.outputs),
                min_shapes=[shapes.nchw(shapes.least)],
                opt_shapes=[shapes.nchw(shapes.opt)],
                max_shapes=[shapes.nchw(shapes.most)],
                max_workspace_size=WORKSPACE,
                fp16_mode=plan.precision != "fp32",
                int8_mode=learnt is not None,
                int8_calib_dataset=learnt,
            )
    except Exception as error:
        raise EngineRejected(
            f"torch2trt cannot convert {source.spec.name} ({type(error).__name__}: {error}); try --set conversion=onnx"
        ) from error
    finally:
        network.cpu()
    return _built(module, source.spec)


def parse(source: Source, plan: EnginePlan, shapes: Shapes) -> Any:
    """By TensorRT's parser → a TRTModule whose engine takes bytes, uint8 [n, height, width, 3].

    torch2trt's own use of the parser goes on after an error, so this is ours. Raises EngineRejected with the parser's
    words, or where TensorRT builds nothing.
    """
    import tensorrt as trt
    from torch2trt import TRTModule
    from torch2trt.flattener import Flattener

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    parser = trt.OnnxParser(network, logger)
    with tempfile.TemporaryDirectory() as scratch:
        source.export(Path(scratch) / "network.onnx")
        parsed = parser.parse((Path(scratch) / "network.onnx").read_bytes())
    if not parsed:
        errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise EngineRejected(f"TensorRT cannot parse {source.spec.name}: {errors}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if plan.precision == "fp16":
        config.set_flag(trt.BuilderFlag.FP16)
    profile = builder.create_optimization_profile()
    channels = source.spec.input_shape[-1] or 3
    profile.set_shape(INPUT, *(shapes.nhwc(shape, channels) for shape in (shapes.least, shapes.opt, shapes.most)))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    outputs = tuple(range(len(source.spec.outputs)))
    flatteners = Flattener((0,), 1), Flattener(outputs, len(outputs))
    return _built(TRTModule(engine, [INPUT], list(source.spec.outputs), *flatteners), source.spec)


def _built(module: Any, spec: ModelSpec) -> Any:
    """The module, unless there is no engine in it: TensorRT gives None where it fails, and torch2trt does not look."""
    if module.engine is None:
        raise EngineRejected(
            f"TensorRT cannot build an engine of {spec.name}; its own words stand above; try a smaller --max-batch"
        )
    return module

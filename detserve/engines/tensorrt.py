"""The backend `tensorrt`: engines built by torch2trt, or by TensorRT's ONNX parser, and run by torch2trt's module."""

from __future__ import annotations

import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from detserve.engines.base import INT8, EnginePlan
from detserve.engines.calibration import Calibration
from detserve.engines.shapes import Shape, Shapes
from detserve.engines.sidecar import Sidecar
from detserve.engines.sources.base import Source
from detserve.engines.torch_device import TorchEngine, gpu_count
from detserve.errors import BackendMissing, EngineRejected
from detserve.models.spec import ModelSpec, NetworkSpec

if TYPE_CHECKING:
    from torch import Tensor

    from detserve.engines.torch_device import Module

FILE, SIDECAR = "engine.pth", "engine.json"
INSTALL = "requirements/install.sh .venv tensorrt"
SUPPORTED = range(8, 11)
"""The major versions of TensorRT that torch2trt knows."""


class TensorRT(TorchEngine):
    """TensorRT on NVIDIA's GPUs. An engine's file is the state dict of torch2trt's TRTModule; beside it is a sidecar.

    Precision int8 needs calibration pictures. An engine runs only on the kind of GPU and the version of TensorRT that
    it was built with, and no two builds give the same bytes.
    """

    name: ClassVar[str] = "tensorrt"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", INT8)

    @classmethod
    def missing(cls) -> str | None:
        """A sentence that names which of a GPU, TensorRT and torch2trt this machine lacks, or a version's misfit."""
        lacks = [] if gpu_count() else ["an NVIDIA GPU that torch can use"]
        lacks += [name for package, name in PACKAGES.items() if not find_spec(package)]
        if lacks:
            return f"this machine lacks {', '.join(lacks)}; where there is a GPU: {INSTALL}"
        major = major_version()
        if major not in SUPPORTED:
            return f"torch2trt knows TensorRT {SUPPORTED[0]} to {SUPPORTED[-1]}, not {major}; {INSTALL}"
        return None

    @classmethod
    def build(cls, source: Source, plan: EnginePlan, folder: Path, calibration: Calibration | None = None) -> None:
        """Convert the model for the GPU at hand, for all the shapes of `Shapes.of`. Takes minutes.

        For int8 torch2trt learns from the calibration pictures; layers that gain nothing from int8 stay in fp16.
        Raises EngineRejected, with TensorRT's own words, when it cannot convert the model, and BackendMissing for int8
        of a model that only the ONNX parser takes.
        """
        import torch

        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # fp32 means fp32: TensorFloat-32 rounds as float16 does
        shapes = Shapes.of(source.spec, plan)
        print(f"by {conversion(source.spec)}, {shapes} ...", end=" ", flush=True, file=sys.stderr)
        if conversion(source.spec) == "torch2trt":
            module = _convert(source, plan, shapes, calibration)
        elif calibration:
            raise BackendMissing(f"{source.spec.name} goes through TensorRT's ONNX parser, without int8; take fp16")
        else:
            module = _parse(source, plan, shapes)
        torch.save(module.state_dict(), folder / FILE)
        Sidecar.of_machine(plan.precision, conversion(source.spec), shapes).write(folder / SIDECAR)

    def load_module(self, folder: Path, plan: EnginePlan) -> Module:
        """Deserialise the engine on the current GPU. Raises BackendMissing without a GPU or on one of another kind."""
        if not self.on_gpu:
            raise BackendMissing("backend tensorrt: the worker was given no GPU; TorchServe's number_of_gpu is 0?")
        import torch
        from torch2trt import TRTModule

        built = Sidecar.read(folder / SIDECAR)
        built.check(Sidecar.of_machine(built.precision, built.conversion, built.shapes))
        self.engine = TRTModule()
        try:
            self.engine.load_state_dict(torch.load(folder / FILE, weights_only=True))
        except AttributeError as error:  # torch2trt does not check whether TensorRT gave it an engine
            raise BackendMissing(
                f"TensorRT {built.tensorrt} cannot read the engine; pack it anew on this GPU"
            ) from error
        return self._behind_front(self.engine)

    @property
    def recordable(self) -> bool:
        """Whether CUDA can record runs of several batch sizes as graphs.

        Each recorded run needs an execution context of its own, and contexts may share an engine's shapes only from
        TensorRT 10 on.
        """
        return major_version() >= 10

    def replica(self) -> Module:
        """The engine again, with an execution context of its own."""
        from torch2trt import TRTModule

        e = self.engine
        return self._behind_front(
            TRTModule(e.engine, e.input_names, e.output_names, e.input_flattener, e.output_flattener)
        )

    def _behind_front(self, engine: Any) -> Module:
        """The engine as a module of pixels: one from an ONNX file has its preprocessing inside."""
        from detserve.engines.sources.network import Front

        if conversion(self.spec) == "onnx":
            return lambda pixels: engine(pixels.contiguous())
        front = Front(self.spec).to(self.device)

        def run(pixels: Tensor) -> tuple[Tensor, ...]:
            # A variable, because TensorRT is given the address alone, and nothing else keeps the tensor alive.
            x = front(pixels).contiguous()
            outputs: tuple[Tensor, ...] = engine(x)
            return outputs

        return run


PACKAGES = {"tensorrt": "TensorRT", "torch2trt": "torch2trt"}


def major_version() -> int:
    """The major version of TensorRT, 10 for instance."""
    from tensorrt import __version__

    return int(__version__.partition(".")[0])


def conversion(spec: ModelSpec) -> str:
    """How TensorRT gets that model, "torch2trt" or "onnx". For models that are ONNX files it is always "onnx"."""
    return spec.conversion if isinstance(spec, NetworkSpec) else "onnx"


class _CalibrationSet:
    """The pictures as torch2trt's calibrator asks for them: by number, as a list of what the network takes.

    Each item is a whole batch of the shape that TensorRT optimises for: it calibrates with that one.
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
        return self.kept


def _convert(source: Source, plan: EnginePlan, shapes: Shapes, calibration: Calibration | None) -> Any:
    """Build an engine by torch2trt's converters. It takes floats only, so normalisation stays in front of it."""
    import torch
    from torch2trt import torch2trt

    from detserve.engines.sources.base import INPUT
    from detserve.engines.torch_device import network_of

    network = network_of(source, TensorRT.name).network.cuda().eval()
    learnt = _CalibrationSet(calibration, source.spec, shapes.opt) if calibration else None
    try:
        with torch.no_grad():
            return torch2trt(
                network,
                [torch.zeros(shapes.nchw(shapes.opt), device="cuda")],
                input_names=[INPUT],
                output_names=list(source.spec.outputs),
                min_shapes=[shapes.nchw(shapes.least)],
                opt_shapes=[shapes.nchw(shapes.opt)],
                max_shapes=[shapes.nchw(shapes.most)],
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


def _parse(source: Source, plan: EnginePlan, shapes: Shapes) -> Any:
    """Build an engine by TensorRT's ONNX parser. Not by torch2trt, which goes on after an error of the parser."""
    import tensorrt as trt
    from torch2trt import TRTModule
    from torch2trt.flattener import Flattener

    from detserve.engines.sources.base import INPUT

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
    if engine is None:
        raise EngineRejected(f"TensorRT cannot build an engine of {source.spec.name}; its own words stand above")
    outputs = tuple(range(len(source.spec.outputs)))
    return TRTModule(engine, [INPUT], list(source.spec.outputs), Flattener((0,), 1), Flattener(outputs, len(outputs)))

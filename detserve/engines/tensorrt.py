"""The backend `tensorrt`: engines built by torch2trt, or by TensorRT's ONNX parser, and run by a runner of our own."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from detserve.engines import trt_builder
from detserve.engines.base import INT8, EnginePlan
from detserve.engines.calibration import Calibration
from detserve.engines.shapes import Shapes
from detserve.engines.sidecar import Sidecar
from detserve.engines.sources.base import Source
from detserve.engines.torch_device import TorchEngine, gpu_count
from detserve.engines.trt_runner import LoadedEngine, Runner
from detserve.errors import BackendMissing
from detserve.models.spec import ModelSpec, NetworkSpec

if TYPE_CHECKING:
    from detserve.engines.torch_device import Module

FILE, SIDECAR = "engine.pth", "engine.json"
INSTALL = "requirements/install.sh .venv tensorrt"
OLDEST, TOO_NEW = (8, 5), (11, 0)
"""Versions of TensorRT: from the one whose calls name tensors, up to the first that torch2trt does not know."""


class TensorRT(TorchEngine):
    """TensorRT on NVIDIA's GPUs. An engine's file is the state dict of torch2trt's TRTModule; beside it is a sidecar.

    Precision int8 needs calibration pictures. An engine runs only on the kind of GPU and the version of TensorRT that
    it was built with, and no two builds give the same bytes.
    """

    name: ClassVar[str] = "tensorrt"
    precisions: ClassVar[tuple[str, ...]] = ("fp16", "fp32", INT8)

    @classmethod
    def missing(cls) -> str | None:
        """A sentence that names which of a GPU, TensorRT and torch2trt this machine lacks, or a version's misfit."""
        lacks = [] if gpu_count() else ["an NVIDIA GPU that torch can use"]
        lacks += [name for package, name in PACKAGES.items() if not find_spec(package)]
        if lacks:
            return f"this machine lacks {', '.join(lacks)}; where there is a GPU: {INSTALL}"
        try:
            found = version()
        except (ImportError, OSError) as error:  # its own libraries are missing, or the driver's
            return f"TensorRT is installed and cannot be loaded ({' '.join(str(error).split())}); {INSTALL}"
        if not OLDEST <= found < TOO_NEW:
            return f"TensorRT must be 8.5 or later and before 11, not {found[0]}.{found[1]}; {INSTALL}"
        return None

    @classmethod
    def build(cls, source: Source, plan: EnginePlan, folder: Path, calibration: Calibration | None = None) -> None:
        """Convert the model for the GPU at hand, for all the shapes of `Shapes.of`. Takes minutes.

        For int8 torch2trt learns from the calibration pictures; layers that gain nothing from int8 stay in fp16.
        Raises EngineRejected, with TensorRT's own words, when it cannot convert the model, and BackendMissing for int8
        of a model that only the ONNX parser takes.
        """
        import torch

        _round_as(plan.precision)
        shapes = Shapes.of(source.spec, plan)
        print(f"by {conversion(source.spec)}, {shapes} ...", end=" ", flush=True, file=sys.stderr)
        if conversion(source.spec) == "torch2trt":
            module = trt_builder.convert(source, plan, shapes, calibration)
        elif calibration:
            raise BackendMissing(f"{source.spec.name} goes through TensorRT's ONNX parser, without int8; take fp16")
        else:
            module = trt_builder.parse(source, plan, shapes)
        torch.save(module.state_dict(), folder / FILE)
        Sidecar.of_machine(plan.precision, conversion(source.spec), shapes).write(folder / SIDECAR)

    def load_module(self, folder: Path, plan: EnginePlan) -> Module:
        """Deserialise the engine on the current GPU. Raises BackendMissing without a GPU or on one of another kind."""
        if not self.on_gpu:
            raise BackendMissing(
                "backend tensorrt: the worker was given no GPU; is nvidia-smi on TorchServe's PATH, or number_of_gpu 0?"
            )
        _round_as(plan.precision)
        built = Sidecar.read(folder / SIDECAR)
        built.check(Sidecar.of_machine(built.precision, built.conversion, built.shapes))
        self.engine = LoadedEngine.read(folder / FILE)
        return self._behind_front(self.engine.runner())

    @property
    def recordable(self) -> bool:
        """A recorded run needs a context of its own, and several may share an engine's shapes from TensorRT 10 on."""
        return version() >= (10, 0)

    def replica(self) -> Module:
        """The engine again, with an execution context of its own."""
        return self._behind_front(self.engine.runner())

    def _behind_front(self, runner: Runner) -> Module:
        """The engine as a module of pixels: one that takes bytes has its preprocessing inside."""
        import torch

        from detserve.engines.sources.network import Front

        if runner.loaded.takes == torch.uint8:
            return runner
        front = Front(self.spec).to(self.device)
        return lambda pixels: runner(front(pixels))


PACKAGES = {"tensorrt": "TensorRT", "torch2trt": "torch2trt"}


def version() -> tuple[int, int]:
    """TensorRT's, without what follows the second number."""
    from tensorrt import __version__

    major, minor, *_ = __version__.split(".")
    return int(major), int(minor)


def conversion(spec: ModelSpec) -> str:
    """How TensorRT gets that model, "torch2trt" or "onnx". For models that are ONNX files it is always "onnx"."""
    return spec.conversion if isinstance(spec, NetworkSpec) else "onnx"


def _round_as(precision: str) -> None:
    """fp32 means fp32, when an engine is built and when it runs: TensorFloat-32 rounds as float16 does.

    By the variable that NVIDIA's libraries read, as torch2trt leaves no way to the builder's flag.
    """
    if precision == "fp32":
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"

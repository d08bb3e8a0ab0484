"""What the backends on PyTorch's tensors share: the device, its threads, and how a batch gets there and back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Pixels
from detserve.engines.base import Device, Engine, EnginePlan
from detserve.engines.sources.base import Source
from detserve.errors import BackendMissing
from detserve.models.spec import ModelSpec, OnnxSpec

if TYPE_CHECKING:
    import torch

    from detserve.engines.sources.network import Preprocessed

    Module = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]
    """Pixels, uint8 [n, height, width, 3] on its device → the network's outputs there."""


class TorchEngine(Engine):
    """A backend whose engine takes and gives PyTorch's tensors: on the worker's GPU if it has one."""

    for_gpus: ClassVar[bool] = True
    device: torch.device

    def load(self, folder: Path, plan: EnginePlan, device: Device) -> int:
        """Load the network onto its device. Raises BackendMissing when its precision needs a GPU and there is none."""
        import torch

        self.device = prepare(device)
        # cuDNN's search for the fastest kernels pays where inputs have one size; it is over before graphs are recorded.
        torch.backends.cudnn.benchmark = self.on_gpu and not self.spec.dynamic
        if plan.precision != "fp32":
            check_half(self.name, self.device.type == "cuda")
        self.module = self.load_module(folder, plan)
        return plan.max_batch if self.on_gpu else 1

    @abstractmethod
    def load_module(self, folder: Path, plan: EnginePlan) -> Module:
        """Load the files that `build` wrote onto `device`."""

    @property
    def on_gpu(self) -> bool:
        """Whether its tensors are on a GPU."""
        return self.device.type == "cuda"

    @property
    def recordable(self) -> bool:
        """Whether CUDA can record runs of several batch sizes as graphs."""
        return self.on_gpu

    def replica(self) -> Module:
        """The module for one recorded graph. No run of another batch size may change its state."""
        return self.module

    def infer(self, batch: Pixels) -> list[NDArray[np.float32]]:
        """Run at most `chunk` pictures."""
        import torch

        with torch.inference_mode():
            outputs = self.module(upload(torch.from_numpy(batch), self.device))
            return [output.float().cpu().numpy() for output in outputs]


class PyTorchEngine(TorchEngine):
    """A backend that PyTorch itself runs, without another runtime."""

    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16")

    @classmethod
    def missing(cls) -> str | None:
        """Nothing: torch is there wherever TorchServe is."""
        return None

    @classmethod
    def can_run(cls, spec: ModelSpec) -> bool:
        """All but ONNX files."""
        return not isinstance(spec, OnnxSpec)


def network_of(source: Source, backend: str) -> Preprocessed:
    """The PyTorch network that an engine is built from. Raises BackendMissing for a model that is an ONNX file."""
    from detserve.engines.sources.network import Preprocessed

    if not isinstance(source, Preprocessed):
        raise BackendMissing(f"{source.spec.name} is an ONNX file, which {backend} cannot run; try openvino or onnx")
    return source


def check_half(backend: str, on_gpu: bool) -> None:
    """Raise BackendMissing unless there is a GPU: PyTorch computes in float16 on a processor, but slower."""
    if not on_gpu:
        raise BackendMissing(
            f"backend {backend}: fp16 wants an NVIDIA GPU; take --precision fp32, or openvino for bf16"
        )


def gpu_count() -> int:
    """How many NVIDIA GPUs torch can use here."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the processor on that device.

    To a GPU by way of pinned memory, which it fetches by itself while the processor goes on; PyTorch keeps that memory
    until it has.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def prepare(device: Device) -> torch.device:
    """Make that device the current one, with its number of threads and a stream of this thread's own; return it."""
    import torch

    torch.set_num_threads(device.threads)
    if device.gpu is None or gpu_count() == 0:
        return torch.device("cpu")
    # fp32 means fp32: TensorFloat-32 rounds as float16 does.
    torch.backends.cudnn.allow_tf32 = False
    torch.cuda.set_device(device.gpu)
    # Off the default stream, on which TensorRT would wait for everything before and after each run.
    torch.cuda.set_stream(torch.cuda.Stream())  # type: ignore[no-untyped-call]
    return torch.device("cuda", device.gpu)

"""What the two torch backends share: the device, its threads, and the way of a batch to it and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detserve.backends.base import Device
from detserve.detections import Pixels
from detserve.errors import BackendMissing
from detserve.spec import Source

if TYPE_CHECKING:
    import torch

    from detserve.networks.preprocess import Preprocessed


def network_of(source: Source, backend: str) -> Preprocessed:
    """The PyTorch network that an engine is built from. Raises BackendMissing for a model that is an ONNX file."""
    from detserve.networks.preprocess import Preprocessed

    if not isinstance(source, Preprocessed):
        raise BackendMissing(f"{source.spec.name} is an ONNX file, which {backend} cannot run; try openvino or onnx")
    return source


def gpu_count() -> int:
    """How many NVIDIA GPUs torch can use here."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def prepare(device: Device) -> torch.device:
    """Make that device the current one, with its number of threads, and return it."""
    import torch

    torch.set_num_threads(device.threads)
    if device.gpu is None or gpu_count() == 0:
        return torch.device("cpu")
    torch.cuda.set_device(device.gpu)
    return torch.device("cuda", device.gpu)


def run(
    module: Callable[[torch.Tensor], tuple[torch.Tensor, ...]], batch: Pixels, device: torch.device
) -> list[NDArray[np.float32]]:
    """One call of a module on a batch of pixels: uint8 [n, height, width, 3] → its outputs as arrays."""
    import torch

    with torch.inference_mode():
        outputs = module(torch.from_numpy(batch).to(device))
        return [output.float().cpu().numpy() for output in outputs]

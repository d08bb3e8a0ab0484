"""The backend `torchscript`: the network traced, frozen and fused by PyTorch's own compiler."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detserve.backends.base import Backend, Device, EnginePlan
from detserve.detections import Pixels
from detserve.spec import Source

FILE = "network.torchscript"


class TorchScript(Backend):
    """TorchScript, on the worker's GPU if it has one. torch 2.13 calls it deprecated; it is pinned, so it stays."""

    name: ClassVar[str] = "torchscript"

    @classmethod
    def missing(cls) -> str | None:
        """Nothing: torch is there wherever TorchServe is."""
        return None

    @classmethod
    def build(cls, source: Source, plan: EnginePlan, folder: Path) -> None:
        """Trace the network with the batch left open, freeze it, write it."""
        import torch

        from detserve.backends.torch_device import network_of

        network = network_of(source, cls.name)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # It warns of its own age, and of sizes that it takes for constants.
            traced = torch.jit.trace(network, network.example(), check_trace=False)  # type: ignore[no-untyped-call]
            frozen = torch.jit.freeze(traced)
        (folder / FILE).write_bytes(frozen.save_to_buffer())  # on a full disk torch itself ends the process

    def load(self, folder: Path, plan: EnginePlan, device: Device) -> int:
        """Load, move and fuse. Fusing happens here: its result is made for this processor."""
        import torch

        from detserve.backends import torch_device

        self.device = torch_device.prepare(device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(folder / FILE, map_location=self.device)  # type: ignore[no-untyped-call]
            self.module = torch.jit.optimize_for_inference(module)
        return 1 if self.device.type == "cpu" else plan.max_batch

    def infer(self, batch: Pixels) -> list[NDArray[np.float32]]:
        """Run at most `chunk` pictures."""
        from detserve.backends import torch_device

        return torch_device.run(self.module, batch, self.device)

"""The backend `eager`: the network as PyTorch runs it, layer by layer. The reference of all others."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detserve.backends.base import Backend, Device, EnginePlan
from detserve.detections import Pixels
from detserve.spec import NetworkSpec, Source

FILE = "network.pt"


class Eager(Backend):
    """PyTorch without a compiler, on the worker's GPU if it has one. Its file is a plain state dict."""

    name: ClassVar[str] = "eager"

    @classmethod
    def missing(cls) -> str | None:
        """Nothing: torch is there wherever TorchServe is."""
        return None

    @classmethod
    def build(cls, source: Source, plan: EnginePlan, folder: Path) -> None:
        """Write the weights."""
        import torch

        from detserve.backends.torch_device import network_of

        buffer = BytesIO()  # on a full disk torch itself ends without saying so
        torch.save(network_of(source, cls.name).network.state_dict(), buffer)
        (folder / FILE).write_bytes(buffer.getvalue())

    def load(self, folder: Path, plan: EnginePlan, device: Device) -> int:
        """Make the network and fill in the weights; nothing is unpickled but tensors."""
        import torch

        from detserve.backends import torch_device
        from detserve.networks.preprocess import Preprocessed

        self.device = torch_device.prepare(device)
        assert isinstance(self.spec, NetworkSpec), "build has made sure of it"
        network = self.spec.architecture()
        network.load_state_dict(torch.load(folder / FILE, weights_only=True))
        self.module = Preprocessed(network, self.spec).to(self.device)
        return 1 if self.device.type == "cpu" else plan.max_batch

    def infer(self, batch: Pixels) -> list[NDArray[np.float32]]:
        """Run at most `chunk` pictures."""
        from detserve.backends import torch_device

        return torch_device.run(self.module, batch, self.device)

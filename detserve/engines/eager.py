"""The backend `eager`: the network as PyTorch runs it, layer by layer."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from detserve.engines.base import EnginePlan
from detserve.engines.calibration import Calibration
from detserve.engines.sources.base import Source
from detserve.engines.torch_device import PyTorchEngine, check_half, gpu_count, network_of
from detserve.models.spec import NetworkSpec

if TYPE_CHECKING:
    from detserve.engines.torch_device import Module

FILE = "network.pt"


class Eager(PyTorchEngine):
    """PyTorch without a compiler. Its file is a plain state dict."""

    name: ClassVar[str] = "eager"

    @classmethod
    def build(cls, source: Source, plan: EnginePlan, folder: Path, calibration: Calibration | None = None) -> None:
        """Write the weights, always in fp32: they are rounded when they are loaded."""
        import torch

        if plan.precision != "fp32":
            check_half(cls.name, gpu_count() > 0)
        buffer = BytesIO()  # on a full disk torch itself would end without saying so
        torch.save(network_of(source, cls.name).network.state_dict(), buffer)
        (folder / FILE).write_bytes(buffer.getvalue())

    def load_module(self, folder: Path, plan: EnginePlan) -> Module:
        """Make the network and load the weights into it; nothing but tensors is unpickled."""
        import torch

        from detserve.engines.sources.network import Preprocessed

        assert isinstance(self.spec, NetworkSpec), "build has made sure of it"
        network = self.spec.architecture()
        network.load_state_dict(torch.load(folder / FILE, weights_only=True))
        half = plan.precision == "fp16"
        # The pixels come with their channels last, and tensor cores want them so.
        layout = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        network = network.to(self.device, torch.float16 if half else torch.float32)
        network = network.to(memory_format=layout)  # type: ignore[call-overload]
        return Preprocessed(network, self.spec, half).to(self.device)

"""The backend `torchscript`: the network traced, frozen and fused by PyTorch's own compiler."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from detserve.engines.base import EnginePlan
from detserve.engines.calibration import Calibration
from detserve.engines.sources.base import Source
from detserve.engines.torch_device import PyTorchEngine, check_half, gpu_count, network_of
from detserve.models.parts import PartSpec

if TYPE_CHECKING:
    from detserve.engines.torch_device import Module

FILE = "network.torchscript"


class TorchScript(PyTorchEngine):
    """TorchScript. torch 2.13 calls it deprecated; detserve pins torch, so it stays."""

    name: ClassVar[str] = "torchscript"

    @classmethod
    def build(cls, source: Source, plan: EnginePlan, folder: Path, calibration: Calibration | None = None) -> None:
        """Trace the network with the batch left open, freeze it, write it."""
        import torch

        from detserve.engines.sources.network import Preprocessed

        network = network_of(source, cls.name)
        if plan.precision != "fp32":
            check_half(cls.name, gpu_count() > 0)
            network = Preprocessed(copy.deepcopy(network.network).half(), network.spec, half=True)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # It warns of its own age, and of sizes that it takes for constants.
            traced = torch.jit.trace(network, network.example(), check_trace=False)  # type: ignore[no-untyped-call]
            frozen = torch.jit.freeze(traced)
        (folder / FILE).write_bytes(frozen.save_to_buffer())  # on a full disk torch itself ends the process

    def load_module(self, folder: Path, plan: EnginePlan) -> Module:
        """Load, move and fuse. Fusing happens here: its result is made for this processor."""
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(folder / FILE, map_location=self.device)  # type: ignore[no-untyped-call]
            if isinstance(self.spec, PartSpec):
                # A part's numbers are ranked and compared before the next part: as they are PyTorch's own, bit for bit,
                # so are the objects. Fused they would differ in the last digits, and be no faster.
                return cast("Module", module)
            fused: Module = torch.jit.optimize_for_inference(module)
        return fused

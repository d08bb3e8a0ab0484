"""Parts: the engines of a model of several networks, built and loaded together, each in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detserve.engines import sources
from detserve.engines.base import INT8, Device, Engine, EnginePlan
from detserve.engines.torch_device import TorchEngine
from detserve.errors import BackendMissing
from detserve.models.parts import PartedSpec
from detserve.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch

    from detserve.engines.sources.network import Preprocessed
    from detserve.models.parts import Run


class PartedSource:
    """The networks of a model with the weights of its files, each behind its front."""

    def __init__(self, spec: PartedSpec, *weights: Path) -> None:
        from detserve.engines.sources.network import Preprocessed

        networks, parts = spec.networks(*weights), spec.parts()
        self.spec = spec
        self.parts: Mapping[str, Preprocessed] = {
            name: Preprocessed(networks[name], part) for name, part in parts.items()
        }

    def build(self, adapter: type[Engine], plan: EnginePlan, folder: Path) -> None:
        """Write the engines' files into that empty folder. Raises BackendMissing for int8, which none of them has."""
        if plan.precision == INT8:
            raise BackendMissing(f"{self.spec.name} has no int8: leave --precision out, or take fp32")
        for name, part in self.parts.items():
            (folder / name).mkdir(parents=True)
            adapter.build(part, plan, folder / name)

    @property
    def run(self) -> Mapping[str, Run]:
        """The networks as PyTorch computes them in fp32 on the processor: what engines are compared with."""
        return self.parts


class PartedEngines:
    """The engines that `PartedSource.build` wrote, loaded."""

    def __init__(self, adapter: type[Engine], folder: Path, spec: PartedSpec, plan: EnginePlan, device: Device) -> None:
        self.spec = spec
        self.engines = {name: adapter(folder / name, part, plan, device) for name, part in spec.parts().items()}
        self.run: Mapping[str, Run] = {name: _run(engine) for name, engine in self.engines.items()}
        self.plan = plan

    @property
    def exact(self) -> bool:
        """Whether all of them compute in fp32 here, be it asked for or the best that this processor has."""
        return {engine.computes_in(self.plan) for engine in self.engines.values()} == {"fp32"}


def build(adapter: type[Engine], spec: ModelSpec, weights: Sequence[Path], plan: EnginePlan, folder: Path) -> None:
    """Build the engine or the engines of a model into that folder."""
    if isinstance(spec, PartedSpec):
        PartedSource(spec, *weights).build(adapter, plan, folder)
    else:
        adapter.build(sources.of(spec, *weights), plan, folder)


def _run(engine: Engine) -> Run:
    """The engine on PyTorch's tensors, which stay where they are if it takes such itself."""
    if isinstance(engine, TorchEngine):
        module, device = engine.module, engine.device
        return lambda x: [output.float() for output in module(x.to(device))]
    return lambda x: _through_numpy(engine, x)


def _through_numpy(engine: Engine, x: torch.Tensor) -> list[torch.Tensor]:
    import torch

    # Maps are tens of megabytes, and no second picture comes before they are done with: no copy.
    outputs = engine(x.numpy(), lend=engine.spec.together == 1)
    return [torch.from_numpy(output) for output in outputs.values()]

"""Sidecar: the file beside a TensorRT engine that says what it was built on and for, because it runs nowhere else."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from detserve.engines.shapes import Shapes
from detserve.errors import BackendMissing


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """What an engine was built on and for. The figures of the parity gate stand in the archive's YAML.

    gpu: its name; capability: its compute capability, "7.5" for instance; tensorrt, torch2trt, torch, cuda: their
    versions; precision, conversion, shapes: of the engine.
    """

    gpu: str
    capability: str
    tensorrt: str
    torch2trt: str
    torch: str
    cuda: str
    precision: str
    conversion: str
    shapes: Shapes

    @staticmethod
    def versions() -> dict[str, str]:
        """Package → version, of the packages that an engine depends on.

        "unknown" for a torch2trt that is on the path, but not installed.
        """
        import tensorrt
        import torch

        try:
            torch2trt = importlib.metadata.version("torch2trt")
        except importlib.metadata.PackageNotFoundError:
            torch2trt = "unknown"
        return {"tensorrt": tensorrt.__version__, "torch2trt": torch2trt, "torch": torch.__version__}

    @classmethod
    def of_machine(cls, precision: str, conversion: str, shapes: Shapes) -> Self:
        """The sidecar of an engine that is built now, on the current GPU of this machine."""
        import torch

        return cls(
            gpu=torch.cuda.get_device_name(),
            capability="{}.{}".format(*torch.cuda.get_device_capability()),
            cuda=torch.version.cuda or "",
            precision=precision,
            conversion=conversion,
            shapes=shapes,
            **cls.versions(),
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read its file. Raises BackendMissing when that is missing or not whole."""
        try:
            entry = json.loads(path.read_text())
            return cls(**{**entry, "shapes": Shapes.of_dict(entry["shapes"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BackendMissing(
                f"nothing tells what the TensorRT engine was built on ({error}); pack it anew"
            ) from error

    def write(self, path: Path) -> None:
        """Write its file, as JSON."""
        path.write_text(json.dumps({**asdict(self), "shapes": self.shapes.to_dict()}, indent=2) + "\n")

    def check(self, machine: Sidecar) -> None:
        """Raise BackendMissing unless an engine of this runs on that machine.

        Compute capability and TensorRT must be the same; another GPU of the same capability is as good.
        """
        if (self.capability, self.tensorrt) != (machine.capability, machine.tensorrt):
            raise BackendMissing(
                f"the engine was built on {self}, and this is {machine}; "
                "pack it anew here: repack.py NAME --backend tensorrt"
            )

    def __str__(self) -> str:
        return f"{self.gpu} (compute capability {self.capability}) with TensorRT {self.tensorrt}"

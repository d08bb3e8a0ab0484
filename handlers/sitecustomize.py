"""What a worker's Python runs when it starts, as TorchServe puts the archive first on its path: torch waits.

TorchServe's protocol module imports torch, to ask of an answer whether it is a tensor. A worker on OpenVINO or ONNX
Runtime has no other use for it, and it takes 195 MB and a second of the start. So that module, and it alone, gets a
stand-in, which loads torch when something of it is used.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

PROTOCOL = "ts.protocol.otf_message_handler"


class Deferred(ModuleType):
    """Stands in for a module of that name."""

    def __getattr__(self, name: str) -> Any:
        """Of the module itself."""
        return getattr(importlib.import_module(self.__name__), name)


class WithoutTorch:
    """Loads a module by its own loader; meanwhile `import torch` gives the stand-in."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the module's own loader does."""
        created: ModuleType | None = self.loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        """Run the module."""
        sys.modules["torch"] = Deferred("torch")
        try:
            self.loader.exec_module(module)
        finally:
            del sys.modules["torch"]


class Finder:
    """Finds the protocol module where torch is not loaded yet; nothing else."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's spec, with a loader that lets torch wait."""
        if name != PROTOCOL or "torch" in sys.modules:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = WithoutTorch(spec.loader)  # type: ignore[assignment]
        return spec


def run_the_next() -> None:
    """Run the module of this name that the machine has, which this one hides."""
    here = Path(__file__).parent
    rest = [entry for entry in sys.path if Path(entry).resolve() != here.resolve()]
    spec = PathFinder.find_spec(__name__, rest)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


if __name__ == "sitecustomize":
    sys.meta_path.insert(0, Finder)
    run_the_next()

"""TensorRT where there is none: the package beside this file, which records and computes nothing."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The stand-in, in the place of the package tensorrt."""
    for name in [each for each in sys.modules if each.partition(".")[0] == "tensorrt"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(Path(__file__).parent / "standin")
    package = importlib.import_module("tensorrt")
    for name in [each for each in sys.modules if each.partition(".")[0] == "tensorrt"]:
        monkeypatch.setitem(sys.modules, name, sys.modules.pop(name))
    return package

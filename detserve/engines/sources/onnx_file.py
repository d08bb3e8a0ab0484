"""A model that is known only as an ONNX file, made into what every engine is: pixels in, named outputs out."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from detserve.core.detections import Pixels
from detserve.engines.sources import runtimes
from detserve.engines.sources.base import INPUT
from detserve.errors import BadWeights
from detserve.models.spec import OnnxSpec, Outputs


class OnnxFile:
    """The file's graph behind nodes that turn uint8 RGB [n, h, w, 3] into what it was trained on.

    The spec says what the file's input and outputs are, see `OnnxSpec`. Raises BadWeights for a file that is no ONNX
    file or has another number of inputs or outputs.
    """

    def __init__(self, path: Path, spec: OnnxSpec) -> None:
        self.spec = spec
        try:
            model = onnx.load(path)
        except (DecodeError, OSError) as error:
            raise BadWeights(
                f"{path.name}: not an ONNX file ({error}); {spec.name} takes {spec.weights.origin}"
            ) from None
        # The names in the file must not clash with those of the nodes that are added in front of it and behind it.
        model = onnx.compose.add_prefix(model, "file.")
        weights = {tensor.name for tensor in model.graph.initializer}
        inputs = [value.name for value in model.graph.input if value.name not in weights]
        outputs = [value.name for value in model.graph.output]
        wanted = 1 if spec.best_class else len(spec.outputs)
        if len(inputs) != 1 or len(outputs) != wanted:
            raise BadWeights(
                f"{path.name}: {len(inputs)} inputs and {len(outputs)} outputs where {spec.name} has 1 and {wanted}"
            )
        before, constants = _preprocessing(spec, inputs[0])
        after = _best_of(outputs[0], spec.outputs) if spec.best_class else _renamed(outputs, spec.outputs)
        graph = helper.make_graph(
            [*before, *model.graph.node, *after],
            spec.name,
            [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", "height", "width", 3])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in spec.outputs],
            [*constants, *model.graph.initializer],
        )
        self.model: ModelProto = helper.make_model(graph, opset_imports=model.opset_import)
        self.model.ir_version = model.ir_version

    def export(self, path: Path) -> None:
        """Write it as ONNX."""
        onnx.save(self.model, path)

    def reference(self, pixels: Pixels) -> Outputs:
        """The outputs as ONNX Runtime computes them in fp32 on the CPU, without optimising the graph."""
        return dict(zip(self.spec.outputs, self._session.run(list(self.spec.outputs), {INPUT: pixels}), strict=True))

    @cached_property
    def _session(self) -> Any:
        onnxruntime = runtimes.onnxruntime()
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        with tempfile.TemporaryDirectory() as scratch:
            self.export(Path(scratch) / "model.onnx")
            return onnxruntime.InferenceSession(
                Path(scratch) / "model.onnx", options, providers=["CPUExecutionProvider"]
            )


def _preprocessing(spec: OnnxSpec, name: str) -> tuple[list[NodeProto], list[TensorProto]]:
    """Nodes from the input `pixels` to the tensor `name`: (pixel - mean) / std in the spec's order of channels."""
    order = np.array([0, 1, 2] if spec.channels == "RGB" else [2, 1, 0], np.int64)
    planes = spec.layout == "NCHW"
    shape = (3, 1, 1) if planes else (3,)
    mean, scale = np.array(spec.mean, np.float32).reshape(shape), (1 / np.array(spec.std, np.float32)).reshape(shape)
    constants = {"detserve_order": order, "detserve_mean": mean, "detserve_scale": scale}
    # Laid in planes first: OpenVINO counts in rows of pixels then, and not in threes.
    nodes = [
        helper.make_node("Cast", [INPUT], ["detserve_float"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["detserve_float", "detserve_order"], ["detserve_ordered"], axis=3),
        helper.make_node("Transpose", ["detserve_ordered"], ["detserve_laid"], perm=[0, 3, 1, 2])
        if planes
        else helper.make_node("Identity", ["detserve_ordered"], ["detserve_laid"]),
        helper.make_node("Sub", ["detserve_laid", "detserve_mean"], ["detserve_shifted"]),
        helper.make_node("Mul", ["detserve_shifted", "detserve_scale"], [name]),
    ]
    return nodes, [numpy_helper.from_array(array, key) for key, array in constants.items()]


def _renamed(names: list[str], wanted: tuple[str, ...]) -> list[NodeProto]:
    return [helper.make_node("Identity", [old], [new]) for old, new in zip(names, wanted, strict=True)]


def _best_of(name: str, wanted: tuple[str, ...]) -> list[NodeProto]:
    best, probability = wanted
    return [
        helper.make_node("ArgMax", [name], ["detserve_best"], axis=2, keepdims=0),
        helper.make_node("Cast", ["detserve_best"], [best], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", [name], [probability], axes=[2], keepdims=0),
    ]

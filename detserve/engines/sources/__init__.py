"""Sources: what engines are built from, a network in PyTorch or an ONNX file, each behind its preprocessing."""

from __future__ import annotations

from pathlib import Path

from detserve.engines.sources.base import Source
from detserve.errors import BadSpec
from detserve.models.spec import ModelSpec, NetworkSpec, OnnxSpec


def of(spec: ModelSpec, *weights: Path) -> Source:
    """The model of that spec with the weights of those files.

    A spec of your own that is neither a NetworkSpec nor an OnnxSpec brings its source by a method
    `source(*weights) -> Source`. Raises BadWeights when a file does not fit, BadSpec when there is no such method.
    """
    if isinstance(spec, NetworkSpec):
        from detserve.engines.sources.network import Preprocessed

        return Preprocessed(spec.network(*weights), spec)
    if isinstance(spec, OnnxSpec):
        from detserve.engines.sources.onnx_file import OnnxFile

        return OnnxFile(weights[0], spec)
    if not hasattr(spec, "source"):
        raise BadSpec(f"model {spec.name} is neither a NetworkSpec nor an OnnxSpec: give it a method source(*weights)")
    source: Source = spec.source(*weights)
    return source

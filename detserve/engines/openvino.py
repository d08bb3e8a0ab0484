"""The backend `openvino`: the fastest on Intel's and AMD's processors, in bf16 where they have it, or in int8."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from copy import copy
from functools import cache
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Pixels
from detserve.core.machine import cores
from detserve.engines.base import INT8, Device, Engine, EnginePlan
from detserve.engines.calibration import Calibration
from detserve.engines.openvino_rewrites import rewrite
from detserve.engines.sources import runtimes
from detserve.engines.sources.base import Source
from detserve.errors import BackendMissing
from detserve.models.parts import PartSpec
from detserve.models.spec import ModelSpec, ReaderSpec

FILE = "network.xml"
HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
"""Precision → OpenVINO's name for it. "auto" gives no hint: OpenVINO takes bf16 where the processor has it. So it does
with "int8", for the layers that stay in floats."""


LINES = 4
"""How many lines of one width are read in a call: up to 20 % faster than alone where they are short."""
PLANS = 2000
"""How many prepared convolutions an open network keeps: of some 30 sizes, least recently used ones go first."""
FEW_PLANS = 200
"""The same for a part of a model of several networks: with all of 40 sizes kept a worker had 90 MB more. To prepare a
size anew takes a thirtieth of its run."""


class OpenVINO(Engine):
    """OpenVINO on the CPU, one picture a call, or some lines of one width.

    A fixed batch of one is the fastest there, because its activations stay in the cache. A picture takes centerface at
    320 on one thread 3.8 ms alone, 4.7 ms in a batch of eight, 4.2 ms with the batch left open. So where inputs have a
    few sizes each gets a compiled network of its own when it comes for the first time: 0.2 s and 19 MB for centerface.
    One network with open sides takes 4 MB a size, but is 12 % slower, and 40 % where sizes alternate.
    """

    name: ClassVar[str] = "openvino"
    precisions: ClassVar[tuple[str, ...]] = ("auto", *HINTS, INT8)
    shape_by_shape: ClassVar[bool] = True

    @classmethod
    def missing(cls) -> str | None:
        """A sentence when OpenVINO is not installed, else None."""
        return None if find_spec("openvino") else "OpenVINO is not installed; pip install --no-deps openvino"

    @classmethod
    def build(cls, source: Source, plan: EnginePlan, folder: Path, calibration: Calibration | None = None) -> None:
        """Convert the model by way of ONNX. Except for int8, weights stay fp32: the precision is chosen at loading."""
        openvino = runtimes.openvino()
        with tempfile.TemporaryDirectory() as scratch:
            source.export(Path(scratch) / "network.onnx")
            model = openvino.Core().read_model(Path(scratch) / "network.onnx")
            rewrite(model)
            _name_by_place(model)
            if calibration:
                model = _quantised(model, calibration, source.spec)
                _name_by_place(model)
            openvino.save_model(model, folder / FILE, compress_to_fp16=False)

    def load(self, folder: Path, plan: EnginePlan, device: Device) -> int:
        """Read the network; it is compiled for this processor, on that many threads, when an input comes."""
        openvino = runtimes.openvino()
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": device.threads,
            # Pinning would put the workers' threads all on the same core.
            "ENABLE_CPU_PINNING": False,
        }
        if self.spec.dynamic:
            options["CPU_RUNTIME_CACHE_CAPACITY"] = FEW_PLANS if isinstance(self.spec, PartSpec) else PLANS
        if plan.precision in HINTS:
            options["INFERENCE_PRECISION_HINT"] = HINTS[plan.precision]
        core = openvino.Core()
        model = core.read_model(folder / FILE)
        reads_lines = isinstance(self.spec, ReaderSpec) and self.spec.dynamic
        lines = LINES if reads_lines else 1
        batch = 1 if self.spec.together == lines == 1 else -1
        open_shape = tuple(-1 if side is None else side for side in self.spec.input_shape)
        self.twinned = reads_lines and cores() >= 2 * device.threads
        if self.twinned:
            # Each stream keeps prepared convolutions of its own.
            options |= {"NUM_STREAMS": 2, "INFERENCE_NUM_THREADS": 2 * device.threads}
            options["CPU_RUNTIME_CACHE_CAPACITY"] = PLANS // 2

        def compiled(shape: tuple[int, ...]) -> Any:
            model.reshape([batch, *shape])
            return core.compile_model(model, "CPU", options)

        self.network_for = cache(compiled)
        self.compiled_for = self._requests()
        self.shape = open_shape if self.spec.dynamic else None
        return lines

    def _requests(self) -> Callable[[tuple[int, ...]], _Compiled]:
        """What one thread calls: a request of the network for each shape."""
        return cache(lambda shape: _Compiled(self.network_for(shape).create_infer_request(), self.spec.outputs))

    def twin(self) -> OpenVINO | None:
        """Of a reader of lines, where two fit the cores: another stream of the same compiled network."""
        if not self.twinned:
            return None
        twin = copy(self)
        twin.compiled_for = twin._requests()
        return twin

    def computes_in(self, plan: EnginePlan) -> str:
        """What OpenVINO took for this processor."""
        compiled = self.network_for(self.shape or self.spec.blank(1).shape[1:])
        taken = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return {hint: precision for precision, hint in HINTS.items()}[taken]

    def infer(self, batch: Pixels) -> list[NDArray[np.float32]]:
        """Run one picture, or some lines; the outputs are the request's own buffers."""
        return self.compiled_for(self.shape or batch.shape[1:])(batch)


class _Compiled:
    """A network compiled for one shape of input, or for all where its sides are open."""

    def __init__(self, request: Any, outputs: Sequence[str]) -> None:
        self._request, self._names = request, outputs
        self._bound: Pixels | None = None
        self._tensor = runtimes.openvino().Tensor
        fixed = all(port.partial_shape.is_static for port in request.model_outputs)
        self._outputs = self._views() if fixed else None  # made once, they save a tenth of a millisecond a call

    def __call__(self, batch: Pixels) -> list[NDArray[np.float32]]:
        pixels = np.ascontiguousarray(batch)
        if pixels is not self._bound:
            self._request.set_input_tensor(self._tensor(pixels, shared_memory=True))
            self._bound = pixels
        self._request.infer(share_outputs=True)
        return self._views() if self._outputs is None else self._outputs

    def _views(self) -> list[NDArray[np.float32]]:
        return [self._request.get_tensor(name).data for name in self._names]


def _name_by_place(model: Any) -> None:
    """Name the operations by their place in the model, so that its file is the same in every process.

    OpenVINO's own names for operations without a name count on from model to model.
    """
    for i, operation in enumerate(model.get_ordered_ops()):
        operation.set_friendly_name(f"{operation.get_type_name()}_{i}")


def _quantised(model: Any, calibration: Calibration, spec: ModelSpec) -> Any:
    """The model with its convolutions in int8, their ranges learnt from the pictures.

    Raises BackendMissing when NNCF is not installed.
    """
    try:
        import nncf
    except ImportError as error:
        raise BackendMissing(
            f"int8 needs the package {error.name!r}: pip install --no-deps -r requirements/int8.txt"
        ) from None
    nncf.set_log_level(logging.WARNING)
    pictures = nncf.Dataset(calibration.pictures, lambda picture: calibration.canvas(picture, spec))
    depthwise, sums = _better_in_floats(model)
    # What is nearest to the floats depends on the network: CenterFace with sums in floats, PP-OCR's detector without.
    found = []
    for names in (depthwise + sums, depthwise, []):
        with redirect_stdout(StringIO()):  # its progress bars
            quantised = nncf.quantize(
                model.clone(),
                pictures,
                subset_size=len(calibration.pictures),
                target_device=nncf.TargetDevice.CPU,
                ignored_scope=nncf.IgnoredScope(names=names),
            )
        found.append(quantised)
    return min(found, key=lambda quantised: _error(quantised, model, [*pictures.get_inference_data()]))


def _better_in_floats(model: Any) -> tuple[list[str], list[str]]:
    """The names of a model's depthwise convolutions and of its sums of two maps.

    OpenVINO computes depthwise convolutions in floats whatever NNCF wants, so int8 only rounds what goes into them. A
    network with residuals carries the rounding of its sums through all that follows.
    """
    maps: set[str] = set()  # what depends on the picture; a bias does not
    depthwise, sums = [], []
    for operation in model.get_ordered_ops():
        kind, name = operation.get_type_name(), operation.get_friendly_name()
        inputs = [value.get_node().get_friendly_name() for value in operation.input_values()]
        if kind == "Parameter" or not maps.isdisjoint(inputs):
            maps.add(name)
        # The weights of a grouped convolution are [groups, outputs of a group, inputs of a group, height, width].
        if kind == "GroupConvolution" and operation.input(1).get_partial_shape()[2] == 1:
            depthwise.append(name)
        if kind == "Add" and maps.issuperset(inputs):
            sums.append(name)
    return depthwise, sums


def _error(quantised: Any, model: Any, batches: Sequence[Pixels]) -> float:
    """How far its outputs are from the model's: the mean of all differences."""
    core = runtimes.openvino().Core()
    exact, rounded = (
        core.compile_model(each, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}) for each in (model, quantised)
    )
    pairs = (zip(exact(batch).values(), rounded(batch).values(), strict=True) for batch in batches)
    return float(np.mean([np.abs(a - b).mean() for pair in pairs for a, b in pair]))

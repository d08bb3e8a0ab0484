"""The backend `openvino`: the fastest on Intel's and AMD's processors, in bf16 where they have it, or in int8."""

from __future__ import annotations

import logging
import tempfile
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Pixels
from detserve.engines import runtimes
from detserve.engines.base import INT8, Device, Engine, EnginePlan
from detserve.engines.calibration import Calibration
from detserve.engines.sources.base import Source
from detserve.errors import BackendMissing
from detserve.models.spec import ModelSpec

FILE = "network.xml"
HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
"""Precision → OpenVINO's name for it. "auto" gives no hint: OpenVINO takes bf16 where the processor has it. So it does
with "int8", for the layers that stay in floats."""


class OpenVINO(Engine):
    """OpenVINO on the CPU, one picture a call.

    A fixed batch of one is the fastest there, because its activations stay in the cache. A picture takes centerface at
    320 on one thread 3.8 ms alone, 4.7 ms in a batch of eight, 4.2 ms with the batch left open.
    """

    name: ClassVar[str] = "openvino"
    precisions: ClassVar[tuple[str, ...]] = ("auto", *HINTS, INT8)

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
            _name_by_place(model)
            if calibration:
                model = _quantised(model, calibration, source.spec)
                _name_by_place(model)
            openvino.save_model(model, folder / FILE, compress_to_fp16=False)

    def load(self, folder: Path, plan: EnginePlan, device: Device) -> int:
        """Compile for this processor, on that many threads."""
        openvino = runtimes.openvino()
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": device.threads,
            # Pinning would put the workers' threads all on the same core.
            "ENABLE_CPU_PINNING": False,
        }
        if plan.precision in HINTS:
            options["INFERENCE_PRECISION_HINT"] = HINTS[plan.precision]
        core = openvino.Core()
        model = core.read_model(folder / FILE)
        batch = 1 if self.spec.together == 1 else -1
        model.reshape([batch, *(-1 if side is None else side for side in self.spec.input_shape)])
        self.request = core.compile_model(model, "CPU", options).create_infer_request()
        return 1

    def infer(self, batch: Pixels) -> list[NDArray[np.float32]]:
        """Run one picture; the outputs are the request's own buffers."""
        results = self.request.infer({0: batch}, share_inputs=True, share_outputs=True)
        return [results[name] for name in self.spec.outputs]


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
    with redirect_stdout(StringIO()):  # its progress bars
        return nncf.quantize(
            model, pictures, subset_size=len(calibration.pictures), target_device=nncf.TargetDevice.CPU
        )

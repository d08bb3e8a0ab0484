"""The backend `onnx`: ONNX Runtime, with its CUDA provider where there is one."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detserve.core.detections import Pixels
from detserve.engines.base import Device, Engine, EnginePlan
from detserve.engines.calibration import Calibration
from detserve.engines.sources import runtimes
from detserve.engines.sources.base import Source
from detserve.errors import BackendMissing

FILE = "network.onnx"


class Onnx(Engine):
    """ONNX Runtime in fp32."""

    name: ClassVar[str] = "onnx"

    @classmethod
    def missing(cls) -> str | None:
        """A sentence when ONNX Runtime is not installed, else None."""
        return None if find_spec("onnxruntime") else "ONNX Runtime is not installed; pip install onnxruntime"

    @classmethod
    def on_gpu(cls) -> bool:
        """Whether the installed ONNX Runtime was built for CUDA."""
        if cls.missing():
            return False
        return "CUDAExecutionProvider" in runtimes.onnxruntime().get_available_providers()

    @classmethod
    def build(cls, source: Source, plan: EnginePlan, folder: Path, calibration: Calibration | None = None) -> None:
        """Export the model; ONNX Runtime optimises it when it loads."""
        source.export(folder / FILE)

    def load(self, folder: Path, plan: EnginePlan, device: Device) -> int:
        """Open a session on the worker's GPU if it has one and ONNX Runtime is built for it, else on the CPU.

        Raises BackendMissing where it is built for a GPU whose libraries it does not find.
        """
        onnxruntime = runtimes.onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = device.threads
        options.inter_op_num_threads = 1
        providers: list[str | tuple[str, dict[str, int]]] = ["CPUExecutionProvider"]
        gpu = device.gpu is not None and self.on_gpu()
        if gpu:
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.gpu or 0}))
        self.session = onnxruntime.InferenceSession(folder / FILE, options, providers=providers)
        if gpu and "CUDAExecutionProvider" not in self.session.get_providers():
            raise BackendMissing(  # it goes on with the processor and says so in a log only
                "backend onnx: ONNX Runtime cannot use this GPU; the libraries of CUDA or cuDNN that it was built for "
                "are missing: pip install onnxruntime-gpu[cuda,cudnn], or pack with another --backend"
            )
        self.input = self.session.get_inputs()[0].name
        return plan.max_batch if gpu else 1

    def infer(self, batch: Pixels) -> list[NDArray[np.float32]]:
        """Run at most `chunk` pictures."""
        outputs: list[NDArray[np.float32]] = self.session.run(list(self.spec.outputs), {self.input: batch})
        return outputs

"""The backend `onnx`: ONNX Runtime, with its CUDA provider where there is one."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detserve.backends.base import Backend, Device, EnginePlan
from detserve.detections import Pixels
from detserve.networks.preprocess import Preprocessed

FILE = "network.onnx"
INPUT = "pixels"
OPSET = 17


def export(network: Preprocessed, path: Path) -> None:
    """Write a network as ONNX with an open batch: input `pixels`, outputs named as in its spec.

    By torch's exporter for traced modules: the newer one needs two more packages, and the pinned torch has both.
    """
    import torch

    names = [INPUT, *network.spec.outputs]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (network.example(2),),
            path,
            dynamo=False,
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={name: {0: "batch"} for name in names},
            opset_version=OPSET,
        )


class Onnx(Backend):
    """ONNX Runtime in fp32."""

    name: ClassVar[str] = "onnx"

    @classmethod
    def missing(cls) -> str | None:
        """Say so when ONNX Runtime is not installed."""
        return None if find_spec("onnxruntime") else "ONNX Runtime is not installed; pip install onnxruntime"

    @classmethod
    def on_gpu(cls) -> bool:
        """Whether the installed ONNX Runtime was built for CUDA."""
        if cls.missing():
            return False
        import onnxruntime

        return "CUDAExecutionProvider" in onnxruntime.get_available_providers()

    @classmethod
    def build(cls, network: Preprocessed, plan: EnginePlan, folder: Path) -> None:
        """Export the network; ONNX Runtime optimises it when it loads."""
        export(network, folder / FILE)

    def load(self, folder: Path, plan: EnginePlan, device: Device) -> int:
        """Open a session on the worker's GPU if it has one and ONNX Runtime can use it, else on the CPU."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = device.threads
        options.inter_op_num_threads = 1
        providers: list[str | tuple[str, dict[str, int]]] = ["CPUExecutionProvider"]
        gpu = device.gpu is not None and self.on_gpu()
        if gpu:
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.gpu or 0}))
        self.session = onnxruntime.InferenceSession(folder / FILE, options, providers=providers)
        return plan.max_batch if gpu else 1

    def infer(self, batch: Pixels) -> list[NDArray[np.float32]]:
        """Run at most `chunk` pictures."""
        outputs: list[NDArray[np.float32]] = self.session.run(list(self.spec.outputs), {INPUT: batch})
        return outputs

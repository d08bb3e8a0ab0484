"""Loading: the recipe of an unpacked archive → its pipeline, with the engines loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from detserve import engines
from detserve.archives.recipe import ENGINE_FOLDER, PackedModel, Recipe
from detserve.core.machine import WORKERS_A_GPU, cores
from detserve.engines.base import Device, Engine, detector_spec
from detserve.engines.parts import PartedEngines
from detserve.engines.torch_device import TorchEngine
from detserve.models.parts import PartedSpec
from detserve.models.rectangles import on_device
from detserve.worker import masks
from detserve.worker.detector import HostDetector
from detserve.worker.parted_detector import PartedDetector
from detserve.worker.pipeline import Pipeline
from detserve.worker.reader import Reader

if TYPE_CHECKING:
    from detserve.worker.cuda_detector import CudaDetector


def load_pipeline(recipe: Recipe, folder: Path, device: Device) -> Pipeline[Any, Any]:
    """The pipeline of the archive that was unpacked into that folder. OpenCV gets as many threads as its engines.

    Raises BackendMissing when this machine cannot run its engines, BadSpec when the settings do not fit the models.
    """
    import cv2

    # It would take a thread for each core, which wait for each other by spinning: 0.75 ms of a second core a picture.
    cv2.setNumThreads(device.threads)
    if isinstance(spec := recipe.detect.spec(), PartedSpec):
        masks.check_installed()  # missed now, not by a request
        packed = recipe.detect
        engines_of_parts = PartedEngines(
            engines.find(packed.backend), folder / ENGINE_FOLDER / "detect", spec, packed.plan, device
        )
        return Pipeline(PartedDetector(engines_of_parts), recipe.max_pixels, recipe.reduced_decode)
    engine = load_engine(recipe.detect, folder / ENGINE_FOLDER / "detect", device)
    reader = Reader(load_engine(recipe.read, folder / ENGINE_FOLDER / "read", device)) if recipe.read else None
    detector = detector_on(engine)
    on_gpu = isinstance(engine, TorchEngine) and engine.on_gpu
    ahead = max(1, cores() // WORKERS_A_GPU) if on_gpu else 0
    if isinstance(detector, HostDetector):
        return Pipeline(detector, recipe.max_pixels, recipe.reduced_decode, reader, ahead)
    from detserve.worker.gpu_jpegs import GpuJpegs

    jpegs = GpuJpegs.before(detector)
    return Pipeline(detector, recipe.max_pixels, recipe.reduced_decode, reader, ahead, jpegs)


def load_engine(packed: PackedModel, folder: Path, device: Device) -> Engine:
    """The engine of one model, from its folder."""
    adapter = engines.find(packed.backend)
    spec = on_device(packed.spec(), adapter.for_gpus and device.gpu is not None)
    return adapter(folder, spec, packed.plan, device)


def detector_on(engine: Engine) -> HostDetector | CudaDetector:
    """The engine with its decode, on the GPU where the engine is there and the model has a head in PyTorch."""
    head = detector_spec(engine).head() if isinstance(engine, TorchEngine) and engine.on_gpu else None
    if head is None or not isinstance(engine, TorchEngine):
        return HostDetector(engine)
    from detserve.worker.cuda_detector import CudaDetector

    return CudaDetector(engine, head)

"""What the gate asks of engines for a GPU: that their decode there is right, and fp32 where fp16 does not do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from detserve import models
from detserve.archives.recipe import PackedModel
from detserve.engines.base import Device, EnginePlan
from detserve.engines.eager import Eager
from detserve.engines.sources.network import Preprocessed
from detserve.engines.tensorrt import TensorRT
from detserve.errors import EngineRejected
from detserve.models.head import Candidates
from detserve.models.spec import DetectorSpec
from detserve.pack import packer
from detserve.pack.parity import EXACT, measure_detector
from detserve.pack.weights import locate
from detserve.worker.cuda_detector import CudaDetector

SPEC = models.find("centerface").override(size=(256, 256))
PLAN = EnginePlan(precision="fp32", max_batch=2)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Eager:
    folder = tmp_path_factory.mktemp("engine")
    Eager.build(Preprocessed(SPEC.network(locate(SPEC.weights.origin)), SPEC), PLAN, folder)
    return Eager(folder, SPEC, PLAN, Device())


class Shifted(nn.Module):
    """A head that is a little off."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, outputs: tuple[torch.Tensor, ...]) -> Candidates:
        boxes, scores, points = self.head(outputs)
        return Candidates(boxes + 8, scores, points)


def detector(engine: Eager, shifted: bool = False) -> CudaDetector:
    assert isinstance(engine.spec, DetectorSpec)
    head = engine.spec.head()
    assert head is not None
    return CudaDetector(engine, Shifted(head) if shifted else head)


def test_the_decode_of_the_gpu_is_compared_with_that_of_the_processor(engine: Eager, astronaut: bytes) -> None:
    figures = measure_detector(engine, detector(engine), astronaut, PLAN)
    assert figures.detections == 1
    figures.check(EXACT)
    with pytest.raises(EngineRejected, match="overlaps its counterpart"):
        measure_detector(engine, detector(engine, shifted=True), astronaut, PLAN).check(EXACT)


def test_an_archive_whose_decode_on_the_gpu_is_off_is_not_written(
    engine: Eager, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packer, "detector_on", lambda each: detector(each, shifted=True))
    choice = packer.ModelChoice(model="centerface", settings={"size": (256, 256)})
    with pytest.raises(EngineRejected, match="overlaps its counterpart"):
        packer.pack(packer.PackRequest(name="fd1", detect=choice, out=tmp_path, backend="eager", max_batch=2))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The precisions that are built on a machine with TensorRT; fp16 is always refused."""
    found: list[str] = []

    def build(building: packer._Building, folder: Path, calibration: None) -> PackedModel:
        folder.mkdir()
        found.append(building.plan.precision)
        if building.plan.precision == "fp16":
            raise EngineRejected("its outputs are not finite")
        return PackedModel(model="m", settings={}, backend="tensorrt", plan=building.plan, weights_sha256="", parity={})

    monkeypatch.setattr(TensorRT, "missing", classmethod(lambda cls: None))
    monkeypatch.setattr(packer, "_build_once", build)
    return found


def building(precision: str | None, backend: str = "tensorrt") -> packer._Building:
    choice = packer.ModelChoice(model="centerface")
    request = packer.PackRequest(name="fd1", detect=choice, out=Path(), backend=backend)
    return packer._Building.of(request, choice, precision)


def test_fp32_takes_over_where_fp16_was_nobodys_wish(built: list[str], tmp_path: Path) -> None:
    assert packer._build(building(None), tmp_path / "detect").plan.precision == "fp32"
    assert built == ["fp16", "fp32"]


def test_fp16_that_was_asked_for_is_refused(built: list[str], tmp_path: Path) -> None:
    with pytest.raises(EngineRejected, match="not finite"):
        packer._build(building("fp16"), tmp_path / "detect")
    assert built == ["fp16"]


@pytest.mark.parametrize(("gpus", "backend", "batch"), [(0, "tensorrt", 8), (1, "tensorrt", 16), (1, "openvino", 8)])
def test_engines_for_a_gpu_take_the_batches_that_it_is_served(
    built: list[str], monkeypatch: pytest.MonkeyPatch, gpus: int, backend: str, batch: int
) -> None:
    monkeypatch.setattr(packer, "gpus", lambda: gpus)
    assert building(None, backend).plan.max_batch == batch

"""JPEGs on the GPU: which are sent there, and what becomes of the others. A stand-in plays nvJPEG, on the processor."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from detserve import models
from detserve.core.detections import Detections
from detserve.engines.base import Device, EnginePlan
from detserve.engines.eager import Eager
from detserve.engines.sources.network import Preprocessed
from detserve.errors import BadPicture, PictureTooLarge
from detserve.models.spec import DetectorSpec
from detserve.options import Options
from detserve.pack.weights import locate
from detserve.pictures.decode import Compressed, compressed
from detserve.worker.cuda_detector import CudaDetector
from detserve.worker.gpu_jpegs import GpuJpegs
from detserve.worker.pipeline import Item, Pipeline, Result

SPEC = models.find("centerface").override(size=(256, 256), rectangular=False)
ASKED = Options(conf_threshold=0.5, iou_threshold=0.3, max_detections=10)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures the stand-in was given at a time."""
    found: list[int] = []

    def decode_jpeg(data: Sequence[torch.Tensor], mode: object, device: object) -> list[torch.Tensor]:
        found.append(len(data))
        rgb = [cv2.imdecode(each.numpy(), cv2.IMREAD_COLOR_RGB) for each in data]
        if any(each is None for each in rgb):
            raise RuntimeError("nvjpegDecodeBatched failed: 3")
        return [torch.from_numpy(np.asarray(each)).permute(2, 0, 1) for each in rgb]

    package, io = ModuleType("torchvision"), ModuleType("torchvision.io")
    package.__spec__ = ModuleSpec("torchvision", None)
    io.__dict__.update(decode_jpeg=decode_jpeg, ImageReadMode=SimpleNamespace(RGB="RGB"))
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.io", io)
    return found


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> CudaDetector:
    plan, folder = EnginePlan(precision="fp32", max_batch=4), tmp_path_factory.mktemp("engine")
    Eager.build(Preprocessed(SPEC.network(locate(SPEC.weights.origin)), SPEC), plan, folder)
    engine = Eager(folder, SPEC, plan, Device())
    engine.chunk = plan.max_batch
    assert isinstance(engine.spec, DetectorSpec)
    head = engine.spec.head()
    assert head is not None
    return CudaDetector(engine, head)


def jpeg(png: bytes, scale: float = 1.0, progressive: bool = False) -> bytes:
    bgr = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    bgr = cv2.resize(bgr, None, fx=scale, fy=scale)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])[1].tobytes()


def pipelines(detector: CudaDetector) -> tuple[Pipeline, Pipeline]:
    """One that decodes on the processor one by one, and one as a worker on a GPU has it."""
    jpegs = GpuJpegs.before(detector)
    assert jpegs is not None
    return Pipeline(detector, 10_000_000), Pipeline(detector, 10_000_000, ahead=3, jpegs=jpegs)


def same(one: Result, other: Result) -> bool:
    if not isinstance(one.outcome, Detections) or not isinstance(other.outcome, Detections):
        return type(one.outcome) is type(other.outcome)
    return one.size == other.size and np.allclose(one.outcome.boxes, other.outcome.boxes, atol=0.5)


def test_small_jpegs_go_together_and_the_rest_to_the_processor(
    detector: CudaDetector, astronaut: bytes, batches: list[int]
) -> None:
    items: list[Item] = [
        (each, ASKED) for each in (jpeg(astronaut), astronaut, jpeg(astronaut, 2.5), b"", jpeg(astronaut, 0.5))
    ]
    here, there = pipelines(detector)
    batches.clear()
    results = there(items)
    assert batches == [2]
    assert [type(result.outcome) for result in results] == [*[Detections] * 3, BadPicture, Detections]
    assert all(map(same, here(items), results))


def test_a_broken_one_among_them_is_refused_and_the_others_answered(
    detector: CudaDetector, astronaut: bytes, batches: list[int]
) -> None:
    whole = jpeg(astronaut)
    broken = whole.replace(b"\xff\xdb", b"\xff\xfe")  # without its tables of quantisation
    items: list[Item] = [(each, ASKED) for each in (whole, broken, whole)]
    here, there = pipelines(detector)
    results = there(items)
    assert [type(result.outcome) for result in results] == [Detections, BadPicture, Detections]
    assert all(map(same, here(items), results))


def test_a_broken_gpu_is_not_taken_for_a_broken_picture(
    detector: CudaDetector, astronaut: bytes, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, there = pipelines(detector)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(sys.modules["torchvision.io"], "decode_jpeg", fail)
    with pytest.raises(RuntimeError, match="CUDA error"):
        there([(jpeg(astronaut), ASKED)])


def test_without_nvjpeg_there_is_none(
    detector: CudaDetector, batches: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(sys.modules["torchvision.io"], "decode_jpeg")
    assert GpuJpegs.before(detector) is None
    assert "JPEGs are decoded on the processor" in capsys.readouterr().err
    monkeypatch.setattr("detserve.worker.gpu_jpegs.find_spec", lambda name: None)
    assert GpuJpegs.before(detector) is None


def test_what_decoders_read_differently_stays_on_the_processor(astronaut: bytes, turned: bytes) -> None:
    small = jpeg(astronaut)
    assert compressed(small, 10**8, 10**6) == Compressed(small, (512, 512))
    assert compressed(jpeg(astronaut, progressive=True), 10**8, 10**6) is not None
    assert compressed(small, 10**8, 512 * 511) is None
    assert compressed(astronaut, 10**8, 10**6) is None
    assert compressed(turned, 10**8, 10**6) is None
    adobe = small[:2] + b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0\0" + small[2:]
    assert compressed(adobe, 10**8, 10**6) is None


@pytest.fixture
def turned(astronaut: bytes) -> bytes:
    """A JPEG that EXIF turns."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    small = jpeg(astronaut)
    return small[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + small[2:]


def test_the_checks_before_the_gpu_are_those_before_the_processor(astronaut: bytes) -> None:
    small = jpeg(astronaut)
    with pytest.raises(PictureTooLarge):
        compressed(small, 1000, 10**6)
    with pytest.raises(BadPicture, match="cut short"):
        compressed(small[:-2], 10**8, 10**6)


def test_errors_of_requests_pass_through(detector: CudaDetector, batches: list[int]) -> None:
    _, there = pipelines(detector)
    refused = BadPicture("no")
    assert there([refused])[0].outcome is refused

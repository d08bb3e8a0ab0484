"""The detector of the GPU against that of the processor. Without a GPU it runs on the processor, but for its graphs."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from detserve import engines, models
from detserve.core.detections import Detections
from detserve.core.letterbox import Letterbox
from detserve.engines.base import Device, EnginePlan
from detserve.engines.sources.network import Preprocessed
from detserve.engines.torch_device import TorchEngine, prepare
from detserve.errors import EngineRejected
from detserve.models.spec import DetectorSpec
from detserve.options import Options
from detserve.pack.weights import locate
from detserve.pictures.decode import decode
from detserve.worker import cuda_nms as nms
from detserve.worker.cuda_detector import CudaDetector, agree, apply, batch_sizes
from detserve.worker.detector import HostDetector
from detserve.worker.loading import detector_on

GPU = 0 if torch.cuda.is_available() else None
SPEC = models.find("centerface").override(size=(256, 192))


def options(conf: float = 0.5, iou: float = 0.3) -> Options:
    return Options(conf_threshold=conf, iou_threshold=iou, max_detections=100, min_size=0.0)


@pytest.fixture(scope="module", params=["eager", "torchscript"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    return load(request.param, tmp_path_factory.mktemp(request.param))


def load(name: str, folder: Path, precision: str = "fp32") -> TorchEngine:
    plan = EnginePlan(precision=precision, max_batch=4)
    adapter = engines.find(name)
    adapter.build(Preprocessed(SPEC.network(locate(SPEC.weights.origin)), SPEC), plan, folder)
    found = adapter(folder, SPEC, plan, Device(gpu=GPU))
    assert isinstance(found, TorchEngine)
    found.chunk = plan.max_batch  # a processor takes one picture a call, and would never fill up a batch
    return found


def cuda_detector(engine: TorchEngine) -> CudaDetector:
    assert isinstance(engine.spec, DetectorSpec)
    head = engine.spec.head()
    assert head is not None
    return CudaDetector(engine, head)


def both(
    engine: TorchEngine, pictures: Sequence[np.ndarray], asked: Sequence[Options]
) -> tuple[list[Detections], list[Detections]]:
    """What either finds on the same pixels: a grey more or less changes the order of weak candidates."""
    host, cuda = HostDetector(engine), cuda_detector(engine)
    batch = host.canvases(len(pictures), host.spec.size)
    for canvas, rgb in zip(batch, pictures, strict=True):
        host.draw(rgb, host.spec.letterbox((rgb.shape[1], rgb.shape[0])), canvas)
    uploaded = torch.from_numpy(batch).to(cuda.device)
    return host.found(host.infer(batch, asked), asked), cuda.found(cuda.infer(uploaded, asked), asked)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_both_find_the_same_in_a_batch_of_any_size(engine: TorchEngine, astronaut: bytes, n: int) -> None:
    rgb = decode(astronaut).rgb
    pictures = [np.roll(rgb, 9 * i, axis=1) if i % 3 else np.zeros_like(rgb) for i in range(1, n + 1)]
    asked = [options(conf=[0.5, 0.05, 0.99][i % 3]) for i in range(n)]
    for a, b in zip(*both(engine, pictures, asked), strict=True):
        assert len(a) == len(b)
        assert b.scores == pytest.approx(a.scores, abs=1e-4)  # cuDNN has other kernels for other batches
        assert b.boxes == pytest.approx(a.boxes, abs=1e-2)
        assert a.keypoints is not None and b.keypoints is not None
        assert b.keypoints == pytest.approx(a.keypoints, abs=1e-2)


def test_a_picture_that_the_gpu_letterboxes_has_the_same_faces(engine: TorchEngine, astronaut: bytes) -> None:
    image = decode(astronaut)
    answers = []
    for d in (HostDetector(engine), cuda_detector(engine)):
        batch = d.canvases(1, d.spec.size)
        d.draw(image.rgb, d.spec.letterbox(image.size), batch[0])
        answers += d.found(d.infer(batch, [options()]), [options()])
    assert len(answers[0]) == len(answers[1]) == 1
    assert answers[1].boxes == pytest.approx(answers[0].boxes, abs=0.3)


def test_what_the_gpu_leaves_open_is_settled_on_the_processor(
    engine: TorchEngine, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb = decode(astronaut).rgb
    ((settled,), _) = both(engine, [rgb], [options(conf=0.01)])
    monkeypatch.setattr(nms, "ROUNDS", 1)
    (_, (left_open,)) = both(engine, [rgb], [options(conf=0.01)])
    assert len(settled) == len(left_open)
    assert left_open.boxes == pytest.approx(settled.boxes, abs=1e-2)


def test_maps_are_those_of_the_engine(engine: TorchEngine, astronaut: bytes) -> None:
    d = cuda_detector(engine)
    batch = d.canvases(1, d.spec.size)
    image = decode(astronaut)
    d.draw(image.rgb, d.spec.letterbox(image.size), batch[0])
    shown = d.maps(batch, d.infer(batch, [options()]))
    assert shown["heatmap"].shape == (1, 48, 64)
    assert shown["heatmap"].max() > 0.5


@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize("size", [(512, 512), (640, 333), (97, 51), (256, 192), (3, 1000)])
def test_a_letterbox_of_tensors_is_that_of_arrays(size: tuple[int, int], reduction: int) -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), np.uint8)
    letterbox = Letterbox.fit((size[0] * reduction, size[1] * reduction), (256, 192))
    wanted = np.empty((192, 256, 3), np.uint8)
    letterbox.apply(rgb, wanted, fill=114)
    got = torch.zeros(192, 256, 3, dtype=torch.uint8)
    apply(letterbox, torch.from_numpy(rgb), got, fill=114)
    assert np.abs(got.numpy().astype(int) - wanted).max() <= 1


def test_graphs_are_recorded_for_powers_of_two_and_the_largest() -> None:
    assert [batch_sizes(n) for n in (1, 2, 6, 8, 9)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8], [1, 2, 4, 8, 9]]


def test_an_engine_on_the_processor_is_decoded_there(tmp_path: Path) -> None:
    found = detector_on(load("eager", tmp_path))
    assert isinstance(found, CudaDetector if GPU is not None else HostDetector)


def test_a_worker_on_a_gpu_leaves_the_default_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, object]] = []
    monkeypatch.setattr("detserve.engines.torch_device.gpu_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: done.append(("set_device", number)))
    monkeypatch.setattr(torch.cuda, "Stream", lambda: "a stream")
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: done.append(("set_stream", stream)))
    assert prepare(Device(gpu=1)) == torch.device("cuda", 1)
    assert done == [("set_device", 1), ("set_stream", "a stream")]


def test_an_engine_that_cannot_be_recorded_is_asked_for_no_replica(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT 8 has no second context with an optimisation profile: every shape of a replica would be -1."""
    monkeypatch.setattr(type(engine), "recordable", False)
    monkeypatch.delattr(TorchEngine, "replica")
    assert {id(step.network) for step in cuda_detector(engine).steps.values()} == {id(engine.module)}  # type: ignore


class Recording:
    """CUDA's graphs as a processor can play them: a graph that runs `played` instead of what was recorded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, played: Callable[[], None]) -> None:
        self.asked: list[dict] = []
        nothing = SimpleNamespace(wait_stream=lambda other: None)
        for name in ("Stream", "current_stream"):
            monkeypatch.setattr(torch.cuda, name, lambda *_: nothing)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=played))
        monkeypatch.setattr(torch.cuda, "graph", self.record)

    def record(self, graph: object, **asked: object) -> AbstractContextManager:
        self.asked.append(asked)
        return nullcontext()


def test_a_graph_with_nothing_in_it_is_refused(engine: TorchEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    Recording(monkeypatch, lambda: None)
    monkeypatch.setattr(type(engine), "recordable", True)
    with pytest.raises(EngineRejected, match="a recorded run of 1 pictures differs from the run itself"):
        cuda_detector(engine)


def test_graphs_that_agree_share_one_stream_and_one_pool(engine: TorchEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording(monkeypatch, lambda: None)
    monkeypatch.setattr(type(engine), "recordable", True)
    monkeypatch.setattr(torch.Tensor, "fill_", lambda self, value: self)  # so that the rows are those of the recording
    assert list(cuda_detector(engine).steps) == [1, 2, 4]
    pools, streams = ({id(asked[key]) for asked in recording.asked} for key in ("pool", "stream"))
    assert (len(recording.asked), len(pools), len(streams)) == (3, 1, 1)


def test_candidates_of_equal_scores_may_change_places() -> None:
    rows = torch.zeros(1, 4, 16)
    rows[0, :, 4] = torch.tensor([0.9, 0.5, 0.5, 0.1])
    rows[0, :, 0] = torch.arange(4)
    assert agree(rows, rows)
    assert agree(rows[:, [0, 2, 1, 3]], rows)
    assert not agree(rows + torch.tensor([5.0] + [0.0] * 15), rows)
    assert not agree(rows * torch.nan, rows)
    other = rows.clone()
    other[0, 3, 4] = 0.2
    assert not agree(other, rows)


@pytest.mark.gpu
@pytest.mark.skipif(GPU is None, reason="no NVIDIA GPU")
@pytest.mark.parametrize("name", ["eager", "torchscript"])
def test_fp16_on_the_gpu_finds_the_same(name: str, tmp_path: Path, astronaut: bytes) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    rgb = decode(astronaut).rgb
    (exact,), _ = both(load(name, tmp_path / "a"), [rgb], [options()])
    _, (half,) = both(load(name, tmp_path / "b", "fp16"), [rgb], [options()])
    assert len(exact) == len(half)
    assert half.scores == pytest.approx(exact.scores, abs=0.02)
    assert half.boxes == pytest.approx(exact.boxes, abs=2)

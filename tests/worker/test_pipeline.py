import gc
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest

from detserve import engines, models
from detserve.core.detections import Detections
from detserve.core.letterbox import Letterbox
from detserve.engines.base import Device, Engine, EnginePlan
from detserve.engines.sources.network import Preprocessed
from detserve.errors import BadPicture, InvalidOption, RequestError
from detserve.options import Options
from detserve.pack.weights import locate
from detserve.worker.detector import HostDetector
from detserve.worker.pipeline import Pipeline, Result

SPEC = models.find("centerface").override(size=(256, 192))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("engine")
    plan = EnginePlan(precision="fp32", max_batch=2)
    network = SPEC.network(locate(SPEC.weights.origin))
    adapter = engines.find("onnx")
    adapter.build(Preprocessed(network, SPEC), plan, folder)
    return adapter(folder, SPEC, plan, Device())


@pytest.fixture(scope="module")
def pipeline(engine: Engine) -> Pipeline:
    return Pipeline(HostDetector(engine), max_pixels=10_000_000)


def options(**changes: float) -> Options:
    values = {"conf_threshold": 0.5, "iou_threshold": 0.3, "max_detections": 10, "min_size": 0.0} | changes
    return Options(**values)  # type: ignore[arg-type]


def found(result: Result) -> Detections:
    assert isinstance(result.outcome, Detections), result.outcome
    return result.outcome


def test_results_come_in_the_order_of_the_requests(pipeline: Pipeline, astronaut: bytes) -> None:
    refused = InvalidOption("no")
    results = pipeline([(b"", options()), (astronaut, options()), refused, (astronaut, options(conf_threshold=0.999))])
    assert isinstance(results[0].outcome, BadPicture)
    assert results[2].outcome is refused
    assert [len(found(results[i])) for i in (1, 3)] == [1, 0]
    assert [result.size for result in results] == [None, (512, 512), None, (512, 512)]


def test_a_batch_without_a_good_picture_never_reaches_the_engine(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.detector, "engine", None)
    assert all(isinstance(r.outcome, RequestError) for r in pipeline([(b"", options()), (b"?", options())]))
    assert pipeline([]) == []


def test_more_pictures_than_the_engine_takes_give_the_same_as_one(pipeline: Pipeline, astronaut: bytes) -> None:
    (alone,) = pipeline([(astronaut, options())])
    for result in pipeline([(astronaut, options())] * 5):
        assert (found(result).boxes == found(alone).boxes).all()


def test_pictures_of_alternating_shapes_leave_nothing_on_each_others_canvas(engine: Engine, astronaut: bytes) -> None:
    """Canvases are used again."""
    rgb = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR)
    blank, wide = (cv2.imencode(".png", each)[1].tobytes() for each in (np.zeros_like(rgb), rgb[:300]))
    one = Pipeline(HostDetector(engine), max_pixels=10_000_000)
    for body in (wide, astronaut, blank, wide, blank, astronaut):
        (result,) = one([(body, options())])
        (alone,) = Pipeline(HostDetector(engine), max_pixels=10_000_000)([(body, options())])
        assert len(found(result)) == (body != blank)
        np.testing.assert_array_equal(found(result).boxes, found(alone).boxes)


def test_boxes_are_in_pixels_of_the_picture_whatever_its_shape(pipeline: Pipeline, astronaut: bytes) -> None:
    rgb = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR)
    (plain,) = pipeline([(astronaut, options())])
    wide = cv2.copyMakeBorder(rgb, 0, 0, 100, 300, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    (shifted,) = pipeline([(cv2.imencode(".png", wide)[1].tobytes(), options())])
    assert shifted.size == (912, 512)
    difference = found(shifted).boxes - found(plain).boxes - np.array([100, 0, 100, 0])
    assert np.abs(difference).max() < 6  # other pixels after scaling, the same face


def test_options_limit_what_is_answered(pipeline: Pipeline, astronaut: bytes) -> None:
    def ask(**changes: float) -> Detections:
        return found(
            pipeline([(astronaut, options(conf_threshold=0.01, iou_threshold=1, max_detections=9999, **changes))])[0]
        )

    everything = ask()
    assert len(everything) > 5
    assert (np.diff(everything.scores) <= 0).all()
    sides = (everything.boxes[:, 2:] - everything.boxes[:, :2]).min(axis=1)
    assert len(ask(min_size=0.1)) == (sides >= 51.2).sum() < len(everything)
    (best,) = pipeline([(astronaut, options(conf_threshold=0.01, iou_threshold=1, max_detections=2))])
    assert found(best).scores.tolist() == everything.scores[:2].tolist()


def test_a_box_in_the_padding_alone_is_dropped(
    pipeline: Pipeline, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 512x512 on 256x192 lies from x = 32 to 224.
    boxes = np.array([[0, 10, 31, 40], [20, 10, 60, 40]], np.float32)
    monkeypatch.setattr(
        type(SPEC), "decode", lambda self, outputs, conf: [Detections(boxes, np.ones(2, np.float32))] * len(conf)
    )
    (result,) = pipeline([(astronaut, options())])
    assert found(result).boxes == pytest.approx(np.array([[0, 26.667, 74.667, 106.667]]), abs=0.01)


def test_a_large_jpeg_is_decoded_small_and_answered_in_its_own_pixels(
    pipeline: Pipeline, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    bgr = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR)
    large = cv2.imencode(".jpg", cv2.resize(bgr, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC))[1].tobytes()
    seen = []
    apply = Letterbox.apply
    monkeypatch.setattr(Letterbox, "apply", lambda self, rgb, *rest: (seen.append(rgb.shape), apply(self, rgb, *rest)))
    (small,), (whole,) = pipeline([(astronaut, options())]), pipeline([(large, options())])
    # 2048 pixels onto 192: an eighth would leave 256, fewer than twice as many.
    assert seen == [(512, 512, 3), (512, 512, 3)]
    assert whole.size == (2048, 2048)
    assert np.abs(found(whole).boxes / 4 - found(small).boxes).max() < 2


def test_each_stage_is_timed(pipeline: Pipeline, astronaut: bytes) -> None:
    first, second = pipeline([(astronaut, options()), (b"", options())])
    assert min(first.timings.decode, first.timings.infer, first.timings.post) > 0
    assert second.timings.infer == 0


@pytest.mark.parametrize("end", [300_000, 0], ids=["broken", "empty"])
def test_a_refused_picture_leaves_nothing_to_the_garbage_collector(
    pipeline: Pipeline, astronaut: bytes, end: int
) -> None:
    """Its rarest run comes after hundreds of megabytes."""

    class Body(bytearray):
        """One that can be watched."""

    body = Body(astronaut[:end])
    watched = weakref.ref(body)
    gc.disable()
    try:
        (result,) = pipeline([(body, options())])
        assert isinstance(result.outcome, BadPicture)
        del body
        assert watched() is None
    finally:
        gc.enable()


def test_too_many_pixels_are_refused_by_the_pipelines_own_limit(engine: Engine, astronaut: bytes) -> None:
    (result,) = Pipeline(HostDetector(engine), max_pixels=512 * 511)([(astronaut, options())])
    assert isinstance(result.outcome, RequestError)
    assert result.outcome.status == 413


def test_zidane_is_found_where_the_published_decode_finds_it(shared: Path, tmp_path: Path) -> None:
    """Within half a pixel and 0.005 of the reference at 320, by every backend in fp32."""
    import json

    spec = models.find("centerface").override(rectangular=False)
    network = Preprocessed(spec.network(locate(spec.weights.origin)), spec)
    cases = json.loads((shared / "golden/real/centerface.json").read_text())["cases"]
    faces = next(case for case in cases if case["name"] == "zidane square 320")["faces"]
    wanted = (np.array([face["box"] for face in faces]) - [0, 70, 0, 70]) * 4
    picture = (shared / "images/yolo_zidane.jpg").read_bytes()
    for name in engines.available():
        (tmp_path / name).mkdir()
        adapter, plan = engines.find(name), EnginePlan(precision="fp32", max_batch=1)
        adapter.build(network, plan, tmp_path / name)
        engine = adapter(tmp_path / name, spec, plan, Device())
        (result,) = Pipeline(HostDetector(engine), max_pixels=10_000_000, reduced_decode=False)([(picture, options())])
        assert np.abs(found(result).boxes - wanted).max() < 0.5, name
        assert np.abs(found(result).scores - [face["score"] for face in faces]).max() < 0.005, name


class Drawn:
    """A detector that keeps the size of what it is to lay on its canvas, and finds nothing."""

    def __init__(self) -> None:
        self.spec = models.find("maskrcnn-r50-fpn").override(min_size=64, max_size=64, size=[64, 64])
        self.sizes: list[tuple[int, ...]] = []

    def canvases(self, n: int, size: tuple[int, int]) -> np.ndarray:
        return np.empty((n, size[1], size[0], 4), np.uint8)

    def draw(self, rgb: np.ndarray, letterbox: Letterbox, canvas: np.ndarray) -> None:
        self.sizes.append(rgb.shape)

    def infer(self, canvases: np.ndarray, options: object) -> int:
        return len(canvases)

    def found(self, raw: int, options: object) -> list[Detections]:
        return [Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))] * raw


def test_a_model_that_is_resized_as_it_was_trained_gets_jpegs_whole(astronaut: bytes) -> None:
    detector = Drawn()
    bgr = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR)
    jpeg = cv2.imencode(".jpg", bgr)[1].tobytes()
    (result,) = Pipeline(detector, max_pixels=10_000_000)([(jpeg, options())])  # type: ignore[arg-type]
    assert detector.sizes == [(512, 512, 3)]
    assert result.size == (512, 512)

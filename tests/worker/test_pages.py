"""A page of print through the real detector and the real recogniser, lying as it may."""

import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from detserve import engines, models
from detserve.core.detections import Detections
from detserve.engines import sources
from detserve.engines.base import Device, EnginePlan
from detserve.options import Options
from detserve.pack.weights import locate
from detserve.worker.detector import HostDetector
from detserve.worker.pipeline import Pipeline, Result
from detserve.worker.reader import Reader


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    loaded = []
    for name in ("ppocrv6-small-det", "ppocrv6-small-rec"):
        weights = locate(models.find(name).weights.origin)
        spec, folder = models.find(name).with_file_metadata(weights), tmp_path_factory.mktemp(name)
        adapter, plan = engines.find("onnx"), EnginePlan(precision="fp32", max_batch=1)
        adapter.build(sources.of(spec, weights), plan, folder)
        loaded.append(adapter(folder, spec, plan, Device()))
    return Pipeline(HostDetector(loaded[0]), 100_000_000, reader=Reader(loaded[1]))


@pytest.fixture(scope="module")
def page() -> np.ndarray:
    return cv2.imread(str(locate("package:skimage/data/page.png")))


def result_of(pipeline: Pipeline, page: np.ndarray, **options: str) -> Result:
    data = cv2.imencode(".png", page)[1].tobytes()
    (result,) = pipeline([(data, Options.parse(options, pipeline.spec))])
    return result


def read(pipeline: Pipeline, page: np.ndarray, **options: str) -> Detections:
    result = result_of(pipeline, page, **options)
    assert isinstance(result.outcome, Detections)
    assert result.size == (page.shape[1], page.shape[0])
    return result.outcome


@pytest.fixture(scope="module")
def upright(pipeline: Pipeline, page: np.ndarray) -> Detections:
    return read(pipeline, page)


def test_an_upright_page_is_read_as_it_is(pipeline: Pipeline, page: np.ndarray, upright: Detections) -> None:
    found = read(pipeline, page, rotate="auto")
    assert found.texts == upright.texts
    assert found.texts is not None
    assert found.texts[0] == "Region-based segmentation"
    assert found.quads is not None
    assert found.quads == pytest.approx(upright.quads)


@pytest.mark.parametrize("turns", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_turned_page_is_read_in_order_and_in_places_of_the_page_as_sent(
    pipeline: Pipeline, page: np.ndarray, upright: Detections, turns: int
) -> None:
    height, width = page.shape[:2]
    found = read(pipeline, np.ascontiguousarray(np.rot90(page, turns)), rotate="auto")
    assert found.texts == upright.texts
    assert found.quads is not None
    assert upright.quads is not None
    x, y = upright.quads[..., 0], upright.quads[..., 1]
    moved = {1: (y, width - x), 2: (width - x, height - y), 3: (height - y, x)}[turns]
    assert found.quads == pytest.approx(np.stack(moved, axis=-1), abs=1e-3)


def test_the_times_of_a_turned_page_are_those_of_both_looks_at_it(
    pipeline: Pipeline, page: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:

    def slowly(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: (time.sleep(0.2), call(*arguments))[1]

    monkeypatch.setattr(pipeline.detector, "infer", slowly(pipeline.detector.infer))
    monkeypatch.setattr(pipeline.detector, "found", slowly(pipeline.detector.found))
    start = time.perf_counter()
    timings = result_of(pipeline, np.ascontiguousarray(np.rot90(page, 2)), rotate="auto").timings
    took = (time.perf_counter() - start) * 1000
    assert timings.infer >= 400
    assert timings.post >= 400
    assert timings.decode + timings.infer + timings.post <= took


def test_so_many_detections_are_lines_whatever_they_are_split_into(
    pipeline: Pipeline, page: np.ndarray, upright: Detections
) -> None:
    (line,) = read(pipeline, page, max_detections="1").texts or ()
    assert upright.texts and line == upright.texts[int(upright.scores.argmax())]
    assert read(pipeline, page, max_detections="1", split="words").texts == tuple(line.split())


def test_a_page_without_text_is_an_empty_answer(pipeline: Pipeline) -> None:
    assert len(read(pipeline, np.full((200, 300, 3), 255, np.uint8), rotate="auto")) == 0

"""Rectangles: inputs cut to the shape of their picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve import engines, models
from detserve.core.geometry import iou
from detserve.core.letterbox import Letterbox
from detserve.engines import sources
from detserve.engines.base import Device, Engine, EnginePlan
from detserve.models.rectangles import RectangularSpec, on_device
from detserve.models.spec import DetectorSpec
from detserve.options import Options
from detserve.pack.weights import locate
from detserve.worker.detector import HostDetector
from detserve.worker.pipeline import Pipeline


def spec(side: int = 320, **settings: bool) -> DetectorSpec:
    found = models.find("centerface").override(size=(side, side), **settings)
    assert isinstance(found, RectangularSpec)
    return found


def test_sizes_are_those_of_the_shapes_of_cameras() -> None:
    assert spec().sizes == ((320, 192), (192, 320), (320, 224), (224, 320), (320, 240), (240, 320), (320, 320))
    assert spec(640).sizes == ((640, 368), (368, 640), (640, 432), (432, 640), (640, 480), (480, 640), (640, 640))
    assert spec(32).sizes == ((32, 32),)
    assert spec(rectangular=False).sizes == ((320, 320),)
    assert models.find("centerface").override(size=(640, 384)).sizes == ((640, 384),)
    # Its stride is 32, CenterFace's 16.
    yolo = ((320, 192), (192, 320), (320, 224), (224, 320), (320, 256), (256, 320), (320, 320))
    assert models.find("yolov5n-face").sizes == yolo


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((1920, 1080), (320, 192)),
        ((1080, 1920), (192, 320)),
        ((3000, 2000), (320, 224)),
        ((4000, 3000), (320, 240)),
        ((512, 512), (320, 320)),
        ((1000, 10), (320, 192)),
        ((1, 1), (320, 320)),
    ],
)
def test_a_picture_gets_the_smallest_input_that_holds_it(picture: tuple[int, int], size: tuple[int, int]) -> None:
    assert spec().letterbox(picture).canvas == size
    assert spec(rectangular=False).letterbox(picture).canvas == (320, 320)


@given(st.integers(1, 9000), st.integers(1, 9000), st.sampled_from([32, 64, 320, 640, 1280]))
def test_a_picture_is_scaled_as_onto_the_square_and_lies_in_the_middle(width: int, height: int, side: int) -> None:
    model = spec(side)
    found, square = model.letterbox((width, height)), Letterbox.fit((width, height), (side, side))
    assert found.inner == square.inner
    assert model.accepts(*found.canvas)
    for start, inner, canvas in zip((found.left, found.top), found.inner, found.canvas, strict=True):
        assert start == (canvas - inner) // 2
    smaller = [size for size in model.sizes if size[0] * size[1] < found.canvas[0] * found.canvas[1]]
    assert not [size for size in smaller if size[0] >= found.inner[0] and size[1] >= found.inner[1]]


def test_on_a_gpu_inputs_are_squares() -> None:
    assert on_device(spec(), gpu=True).sizes == ((320, 320),)
    assert on_device(spec(), gpu=False).sizes == spec().sizes
    text = models.find("ppocrv6-small-det")
    assert on_device(text, gpu=True) is text


def engine(adapter: type[Engine], model: DetectorSpec, folder: Path) -> Engine:
    plan = EnginePlan(precision="fp32", max_batch=2)
    adapter.build(sources.of(model, locate(model.weights.origin)), plan, folder)
    return adapter(folder, model, plan, Device())


@pytest.mark.parametrize("backend", ["openvino", "onnx", "torchscript", "eager"])
def test_every_size_gives_what_its_network_gives(backend: str, tmp_path: Path) -> None:
    model = spec(96)
    loaded = engine(engines.find(backend), model, tmp_path)
    source = sources.of(model, locate(model.weights.origin))
    rng = np.random.default_rng(0)
    for width, height in model.sizes:
        pixels = rng.integers(0, 256, (2, height, width, 3), np.uint8)
        wanted = source.reference(pixels)
        for name, found in loaded(pixels).items():
            assert found.shape == wanted[name].shape
            np.testing.assert_allclose(found, wanted[name], rtol=0, atol=1e-3 * np.abs(wanted[name]).max())
    with pytest.raises(ValueError, match="takes uint8"):
        loaded(np.zeros((1, 64, 32, 3), np.uint8))


def test_faces_are_found_where_they_were(astronaut: bytes, tmp_path: Path) -> None:
    """In a batch of shapes, one of them broken, and by the same engine with squares."""
    photograph = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR)
    cuts = [photograph, photograph[:288], photograph[:, 60:348], photograph[:200, 100:400]]
    pictures = [cv2.imencode(".png", cut)[1].tobytes() for cut in cuts]
    pictures.insert(1, b"\x89PNG\r\n\x1a\n")
    loaded = engine(engines.find("openvino"), spec(), tmp_path)
    square = engine(engines.find("openvino"), spec(rectangular=False), tmp_path)
    asked = Options(conf_threshold=0.5, iou_threshold=0.3, max_detections=100)
    rectangles, squares = (
        Pipeline(HostDetector(each), max_pixels=10**6)([(data, asked) for data in pictures])
        for each in (loaded, square)
    )
    assert [result.size for result in rectangles] == [result.size for result in squares]
    assert rectangles[1].size is None
    for found, wanted in zip(rectangles, squares, strict=True):
        if wanted.size is None:
            continue
        assert len(found.outcome) == len(wanted.outcome) == 1
        assert iou(found.outcome.boxes, wanted.outcome.boxes)[0, 0] > 0.9
        assert found.outcome.scores[0] == pytest.approx(wanted.outcome.scores[0], abs=0.05)

"""The shapes that engines are built for hold everything that the pipeline sends them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve import models
from detserve.engines.base import EnginePlan
from detserve.engines.shapes import Shape, Shapes
from detserve.models.parts import PartedSpec
from detserve.models.spec import ReaderSpec, TextSpec


def plan(max_batch: int = 16, opt_batch: int = 8) -> EnginePlan:
    return EnginePlan(precision="fp16", max_batch=max_batch, opt_batch=opt_batch)


def inside(shape: tuple[int, ...], shapes: Shapes) -> bool:
    return all(a <= x <= b for a, x, b in zip(shapes.least, shape, shapes.most, strict=True))


def test_a_fixed_input_comes_in_batches_of_any_size() -> None:
    shapes = Shapes.of(models.find("yolov5s-face").override(size=(640, 384)), plan())
    assert shapes == Shapes(Shape(1, 384, 640), Shape(8, 384, 640), Shape(16, 384, 640))
    assert Shapes.nchw(shapes.opt) == (8, 3, 384, 640)
    assert Shapes.nhwc(shapes.opt) == (8, 384, 640, 3)
    assert str(shapes) == "1x384x640 to 16x384x640"


@pytest.mark.parametrize("name", ["craft", "east-vgg16", "ppocrv6-small-det"])
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_every_letterbox_of_a_text_detector_lies_inside(name: str, width: int, height: int) -> None:
    spec = models.find(name)
    assert isinstance(spec, TextSpec)
    shapes = Shapes.of(spec, plan())
    canvas = spec.letterbox((width, height)).canvas
    assert inside((1, canvas[1], canvas[0]), shapes)
    assert all(side % spec.stride == 0 for shape in (shapes.least, shapes.opt, shapes.most) for side in shape[1:])


@given(st.floats(0.01, 200))
def test_every_line_of_a_reader_lies_inside(aspect: float) -> None:
    spec = models.find("ppocrv6-small-rec")
    assert isinstance(spec, ReaderSpec)
    assert inside((16, spec.size[1], spec.width(aspect)), Shapes.of(spec, plan()))


def test_shapes_that_shrink_are_refused() -> None:
    with pytest.raises(ValueError, match="width of a profile must grow: 1, 64, 32"):
        Shapes(Shape(1, 1, 1), Shape(1, 1, 64), Shape(1, 1, 32))


@pytest.mark.parametrize("name", ["centerface", "craft", "ppocrv6-small-rec"])
def test_shapes_come_back_from_their_file(name: str) -> None:
    shapes = Shapes.of(models.find(name), plan())
    assert Shapes.of_dict(shapes.to_dict()) == shapes


@pytest.mark.parametrize("name", ["maskrcnn-r50-fpn", "maskrcnn-d2-r50-fpn-two-stems"])
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_every_canvas_and_every_count_of_regions_lies_inside(name: str, width: int, height: int) -> None:
    spec = models.find(name)
    assert isinstance(spec, PartedSpec)
    parts = spec.parts()
    canvas = spec.letterbox((width, height)).canvas
    assert inside((1, canvas[1], canvas[0]), Shapes.of(parts["features"], plan()))
    for part, side in (("boxes", 7), ("masks", 14)):
        shapes = Shapes.of(parts[part], plan())
        assert inside((1, side, side), shapes) and inside((parts[part].together, side, side), shapes)
        assert Shapes.nhwc(shapes.most, 256) == (parts[part].together, side, side, 256)

"""The scale at which text is looked for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve import models
from detserve.errors import BadSpec
from detserve.models.ppocr import PPReader
from detserve.models.spec import TextSpec

SPEC = models.find("ppocrv6-small-det")
READER = models.find("ppocrv6-small-rec")
assert isinstance(READER, PPReader)


@pytest.mark.parametrize(
    ("picture", "inner"),
    [
        ((1280, 720), (1280, 720)),  # as many pixels as 960 x 960: not shrunk at all
        ((1920, 1080), (1280, 720)),
        ((720, 1280), (720, 1280)),
        ((3000, 4000), (736, 981)),  # the shorter side is 736 pixels
        ((1000, 1000), (960, 960)),
        ((4000, 500), (1280, 160)),  # the longer side is within 1280
        ((384, 191), (960, 478)),  # enlarged to 960 at most
        ((727, 610), (877, 736)),
    ],
)
def test_wide_pictures_are_shrunk_less(picture: tuple[int, int], inner: tuple[int, int]) -> None:
    assert isinstance(SPEC, TextSpec)
    assert SPEC.letterbox(picture).inner == inner


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.sampled_from([320, 960, 992, 2560]))
def test_every_input_is_one_that_is_accepted(width: int, height: int, side: int) -> None:
    assert isinstance(SPEC, TextSpec)
    spec = SPEC.override(size=(side, side))
    letterbox = spec.letterbox((width, height))
    assert spec.accepts(*letterbox.canvas)
    plain = spec.override(shrink_to=0)
    assert max(letterbox.inner) >= max(plain.letterbox((width, height)).inner)
    assert max(plain.letterbox((width, height)).canvas) <= side


@given(st.floats(0.01, 200))
def test_lines_have_few_widths_and_little_fill(aspect: float) -> None:
    filled = math.ceil(READER.size[1] * aspect) + READER.end
    width = READER.width(aspect)
    assert READER.accepts(width, READER.size[1])
    if width < READER.size[0]:
        assert filled <= width < filled + max(READER.stride, 0.06 * filled)
    assert READER.width(aspect * 1.5) >= width


@pytest.mark.parametrize("columns", [100, 2536, 2537, 2600, 9000])
def test_a_line_ends_in_fill_however_long_it_is(columns: int) -> None:
    line = np.full((READER.size[1], columns, 3), 255, np.uint8)
    canvas, filled = READER.place(line, READER.width(columns / READER.size[1]))
    assert filled == min(columns, READER.size[0] - READER.end)
    assert (canvas[:, :filled] == 255).all() and (canvas[:, filled:] == READER.fill).all()


def test_all_lines_together_have_few_widths() -> None:
    assert len({READER.width(columns / READER.size[1]) for columns in range(1, 4000)}) == 79


def test_a_margin_leaves_something_of_a_quad() -> None:
    with pytest.raises(BadSpec, match="margin"):
        SPEC.override(margin=0.5)

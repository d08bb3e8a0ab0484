from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve import models
from detserve.client import command as client_command
from detserve.client.api import Masking, Reading, Thresholds
from detserve.errors import InvalidOption
from detserve.options import OPTIONS, Option, Options
from detserve.pack import command as pack_command
from detserve.serve.model_config import PACK_KEYS

SPEC = models.find("centerface")


def test_what_is_not_named_is_the_models_own() -> None:
    options = Options.parse({"Accept": "*/*", "Content-Length": "5"}, SPEC)
    assert options == Options(
        conf_threshold=SPEC.conf, iou_threshold=SPEC.iou, max_detections=SPEC.max_detections, min_size=0
    )


@pytest.mark.parametrize("name", ["X-Conf-Threshold", "x-conf-threshold", "conf_threshold", "Conf_Threshold"])
@pytest.mark.parametrize("value", ["0.25", " 0.25 ", b"0.25", bytearray(b"0.25")])
def test_headers_and_fields_say_the_same(name: str, value: str | bytes) -> None:
    assert Options.parse({name: value}, SPEC).conf_threshold == 0.25


def test_every_option_is_read() -> None:
    fields = {"X-Conf-Threshold": "0", "iou_threshold": "1", "X-Max-Detections": "3", "min_size": "0.5"}
    assert Options.parse(fields, SPEC) == Options(conf_threshold=0, iou_threshold=1, max_detections=3, min_size=0.5)


@pytest.mark.parametrize("name", ["conf_threshold", "iou_threshold", "max_detections", "min_size"])
@pytest.mark.parametrize("value", ["", "much", "nan", "inf", "-0.1", "10001", "0x1", b"\xff"])
def test_what_is_no_number_or_out_of_range_is_refused_by_name(name: str, value: str | bytes) -> None:
    with pytest.raises(InvalidOption, match=name):
        Options.parse({name: value}, SPEC)


def test_half_a_detection_is_refused() -> None:
    with pytest.raises(InvalidOption, match="whole"):
        Options.parse({"max_detections": "1.5"}, SPEC)


@given(st.text() | st.binary())
def test_no_text_brings_it_down(value: str | bytes) -> None:
    try:
        assert 0 <= Options.parse({"conf_threshold": value}, SPEC).conf_threshold <= 1
    except InvalidOption as error:
        assert len(str(error)) < 500  # 40 characters of it at most, each escaped


def test_the_readmes_table_is_what_is_declared() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    rows = [f"| `{each.header}` | `{each.name}` | {each.means} | {each.range} |" for each in OPTIONS]
    assert "\n".join(["| header | field | means | range |", "|---|---|---|---|", *rows, ""]) in readme


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_each_option_is_known_by_all_its_names(option: Option) -> None:
    value = option.choices[-1] if option.choices else option.high
    for name in (option.header, option.header.lower(), option.name, option.name.title()):
        assert getattr(Options.parse({name: str(value)}, SPEC), option.name) == value
    client = client_command.parse(
        ["img.jpg", "--out", "result", option.flag, *([str(value)] if option.name != "maps" else [])]
    )
    assert getattr(client, option.name) == (True if option.name == "maps" else value)
    assert (option.key in PACK_KEYS) is option.packed
    if option.packed:
        assert getattr(pack_command.parse(["fd1", option.flag, str(value)]), option.key) == value


def test_the_clients_types_have_every_option_and_its_choices() -> None:
    """All but `maps`, which a program asks for by `ask`: the typed calls have no place for them."""
    typed = {key: kind for each in (Reading, Masking) for key, kind in get_type_hints(each).items()}
    of_choices = {key: get_args(kind) for key, kind in typed.items() if get_args(kind)}
    declared = [each for each in OPTIONS if each.name != "maps"]
    assert of_choices == {each.key: each.choices for each in declared if each.choices}
    numbers = {each.key: int if each.whole else float for each in declared if not each.choices}
    assert get_type_hints(Thresholds) == numbers
    assert typed.keys() == numbers.keys() | of_choices.keys()


def test_an_archive_may_have_defaults_of_its_own() -> None:
    assert Options.parse({}, SPEC, {"split": "words"}).split == "words"
    assert Options.parse({"X-Split": "lines"}, SPEC, {"split": "words"}).split == "lines"
    with pytest.raises(InvalidOption, match=r"^split must be lines or words or characters, not 'letters'$"):
        Options.parse({"split": "Letters"}, SPEC)

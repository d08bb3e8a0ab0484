"""The forms of a request: what is taken, what is refused, and that nothing at all breaks the parse."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve.errors import BadPicture, BadRequest, RequestError, TooManyPictures
from detserve.worker.envelope import (
    MAX_PICTURES,
    MAX_VALUES,
    V1,
    V2,
    Envelope,
    PlainBody,
    of_row,
    of_split_rows,
    of_strings,
    parse,
)

pictures = st.lists(st.binary(max_size=40), min_size=1, max_size=MAX_PICTURES)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = ("instances", "inputs", "id", "parameters", "data", "datatype", "shape", "image", "b64", "name")
SHAPED = st.recursive(
    st.none() | st.integers(0, 3) | st.sampled_from(["", "AA==", "?", "BYTES", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def found(envelope: Envelope) -> list[bytes]:
    assert not any(isinstance(picture, RequestError) for picture in envelope.pictures)
    return [picture[0] for picture in envelope.pictures]


@given(pictures, st.sampled_from(["data", "image", "image_bytes", "b64", "bare", "nested"]))
def test_v1_gives_back_the_bytes_in_their_order(data: list[bytes], form: str) -> None:
    def instance(text: str) -> Any:
        return {"bare": text, "nested": {"image": {"b64": text}}}.get(form, {form: text})

    envelope = of_row({"body": json.dumps({"instances": [instance(b64(each)) for each in data]}).encode()})
    assert isinstance(envelope, V1)
    assert found(envelope) == data


@given(st.lists(pictures, min_size=1, max_size=3), st.none() | st.text())
def test_v2_gives_back_the_bytes_of_all_inputs(tensors: list[list[bytes]], name: str | None) -> None:
    inputs = [{"datatype": "BYTES", "shape": [len(each)], "data": [b64(data) for data in each]} for each in tensors]
    document = {"id": name, "inputs": inputs}
    if sum(map(len, tensors)) > MAX_PICTURES:
        with pytest.raises(TooManyPictures):
            parse(document)
        return
    envelope = of_row({"body": document})
    assert isinstance(envelope, V2)
    assert found(envelope) == [data for each in tensors for data in each]
    answer = json.loads(envelope.answer([[]] * len(envelope.pictures), "fd1", "1.0"))
    assert answer.get("id") == name
    assert answer["outputs"][0]["shape"] == [len(envelope.pictures)]


@given(ANY | SHAPED)
def test_nothing_that_json_can_say_breaks_the_parse(document: Any) -> None:
    """Whatever comes, each picture is bytes with fields or an error of the request; and it can be answered."""
    for body in (document, json.dumps(document).encode()):
        envelope = of_row({"body": body})
        assert 1 <= len(envelope.pictures) <= MAX_PICTURES
        for picture in envelope.pictures:
            assert isinstance(picture, RequestError) or isinstance(picture[0], bytes | bytearray)
        json.loads(envelope.answer([[]] * len(envelope.pictures), "fd1", "1.0"))


@given(st.binary(max_size=60))
def test_nothing_that_begins_like_json_breaks_the_parse(tail: bytes) -> None:
    envelope = of_row({"body": b" {" + tail})
    assert isinstance(envelope.pictures[0], BadRequest) or isinstance(envelope, PlainBody | V1 | V2)


@given(st.lists(SHAPED, min_size=1, max_size=40), st.booleans())
def test_what_torchserves_envelope_hands_over_is_answered_one_by_one(rows: list[Any], v2: bool) -> None:
    rows = [row if isinstance(row, dict) else {"data": row} for row in rows] if v2 else rows
    envelope = of_split_rows(rows, v2)
    assert len(envelope.pictures) == len(rows)
    if len(rows) > MAX_PICTURES:
        assert all(isinstance(picture, TooManyPictures) for picture in envelope.pictures)
    answer = envelope.answer([[]] * len(rows), "fd1", "1.0")
    assert answer == (["[]"] * len(rows) if v2 else [[]] * len(rows))


def test_bytes_of_a_picture_are_left_alone() -> None:
    for name in ("data", "image", "body"):
        row = {"conf_threshold": b"0.5", name: b"\xff\xd8\xff{"}
        envelope = of_row(row)
        assert isinstance(envelope, PlainBody)
        assert envelope.pictures == [(b"\xff\xd8\xff{", row)]
        assert envelope.answer([[1]], "fd1", "1.0") == b"[1]"


@pytest.mark.parametrize("row", [{}, {"body": None}, {"body": "text"}, {"picture": b"x"}, {"body": [1]}])
def test_a_row_without_a_picture_says_how_to_send_one(row: dict[str, Any]) -> None:
    (error,) = of_row(row).pictures
    assert isinstance(error, BadPicture)
    assert "curl -T FILE" in str(error)


@pytest.mark.parametrize("text", ["A", "A=", "AAA", "????", "AA==AA==", "é", "AAAA-_AA", "=AAA"])
def test_what_is_not_base64_is_said_to_be_none(text: str) -> None:
    (error,) = parse({"instances": [text]}).pictures
    assert isinstance(error, BadPicture)
    assert "base64" in str(error)


def test_lines_of_base64_are_taken_together() -> None:
    data = bytes(range(256))
    assert found(parse({"instances": [base64.encodebytes(data).decode(), b64(data)]})) == [data, data]


def test_the_fields_beside_a_picture_stay_with_it() -> None:
    tensor = {"datatype": "BYTES", "data": ["AA==", "AA=="], "parameters": {"min_size": 0.1}}
    document = {"parameters": {"conf_threshold": 0.3, "min_size": 0.5}, "inputs": [tensor | {"shape": [2, 1]}]}
    fields = {"conf_threshold": 0.3, "min_size": 0.1}
    assert parse(document).pictures == [(b"\0", fields), (b"\0", fields)]
    instance = {"data": "AA==", "conf_threshold": 0.3}
    assert parse({"instances": [instance]}).pictures == [(b"\0", instance)]


def test_small_values_by_the_million_are_refused_before_they_are_parsed() -> None:
    few, many = (b'{"instances": [' + b",".join([b"{}"] * n) + b"]}" for n in (MAX_PICTURES, MAX_VALUES))
    assert len(of_row({"body": few}).pictures) == MAX_PICTURES
    (error,) = of_row({"body": many}).pictures
    assert isinstance(error, TooManyPictures)
    assert f"{MAX_VALUES} values" in str(error)


def test_strings_of_a_tensor_are_bytes_or_base64() -> None:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(90)
    text = base64.b64encode(picture)
    request = of_strings([picture, text, b"?!", b""], {"masks": "none", "depth": "no map"})
    assert [p if isinstance(p, RequestError) else p[0] for p in request.pictures[:2]] == [picture, picture]
    assert request.pictures[0][1] == {"masks": "none"}
    assert isinstance(request.pictures[2], RequestError)
    with_maps = of_strings([picture], {}, [text])
    assert with_maps.pictures[0][1]["depth"] == picture
    (uneven,) = of_strings([picture], {}, [text, text]).pictures
    assert isinstance(uneven, RequestError)
    assert of_strings([picture], {}).answer([[], {"code": 1}], "m", "1") == [b"[]", b'{"code":1}']

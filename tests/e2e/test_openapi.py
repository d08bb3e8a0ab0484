"""docs/openapi.yaml describes the server: valid, with every option, and no answer lies outside of it."""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, settings
from openapi_spec_validator import validate
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from detserve.demo.app import STATIC
from detserve.options import OPTIONS, Option
from detserve.worker.envelope import DEPTH, INSTANCE_FIELDS, MAX_PICTURES, ROW_FIELDS
from tests.harness.server import Server

PAGE = Path(__file__).parents[2] / "docs" / "openapi.yaml"
DESCRIPTION: dict[str, Any] = yaml.safe_load(PAGE.read_text("utf-8"))
INSIDE = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
"""An answer's status, kind, headers and body are among those described."""
UNREADABLE_FORM = "ErrorDataDecoderException"
"""TorchServe's own 500 for a form that it cannot parse: docs/security.md."""
api = schemathesis.openapi.from_dict(DESCRIPTION)


def followed(part: Any) -> Any:
    """A part of the description, or what it refers to."""
    while isinstance(part, dict) and "$ref" in part:
        where = part["$ref"].removeprefix("#/").split("/")
        part = DESCRIPTION
        for name in where:
            part = part[name]
    return part


def test_the_description_is_valid() -> None:
    validate(DESCRIPTION)


def schema_of(option: Option) -> dict[str, Any]:
    if option.choices:
        return {"type": "string", "enum": list(option.choices)}
    return {"type": "integer" if option.whole else "number", "minimum": option.low, "maximum": option.high}


def test_it_has_every_option_as_it_is_declared() -> None:
    for path in DESCRIPTION["paths"].values():
        for operation in (path[method] for method in ("put", "post") if method in path):
            assert [followed(each) for each in operation["parameters"]] == [
                {"name": option.header, "in": "header", "description": option.means, "schema": schema_of(option)}
                for option in OPTIONS
            ]
    schemas = DESCRIPTION["components"]["schemas"]
    for name, pictures in (("Form", {*ROW_FIELDS} - {"body"}), ("Instance", {*INSTANCE_FIELDS})):
        fields = schemas[name]["properties"]
        assert fields.keys() == pictures | {DEPTH, *(option.name for option in OPTIONS)}
        assert {each for one in schemas[name]["anyOf"] for each in one["required"]} == pictures
        assert [followed(fields[option.name]) for option in OPTIONS] == [schema_of(option) for option in OPTIONS]
    assert DESCRIPTION["components"]["schemas"]["V1Request"]["properties"]["instances"]["maxItems"] == MAX_PICTURES


def bodies() -> list[Any]:
    """Every body of a request or an answer that has examples: its schema and one of them."""
    found = []

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            if "schema" in part and "examples" in part and isinstance(part["examples"], dict):
                for name, example in part["examples"].items():
                    found.append(pytest.param(part["schema"], example["value"], id=f"{len(found)}-{name}"))
            for each in part.values():
                walk(each)
        elif isinstance(part, list):
            for each in part:
                walk(each)

    walk(DESCRIPTION)
    return found


@pytest.mark.parametrize(("schema", "example"), bodies())
def test_the_examples_are_what_they_are_examples_of(schema: dict[str, Any], example: Any) -> None:
    whole = {"components": DESCRIPTION["components"], **schema}
    jsonschema.Draft202012Validator(whole).validate(example)


def send(server: Server, path: str, method: str = "PUT", **parts: Any) -> Any:
    """One request → the answer's JSON, after a look whether all of it is described."""
    case = api[path][method].Case(**parts)
    response = case.call(base_url=server.url)
    case.validate_response(response, checks=[*INSIDE, not_a_server_error])
    return response.json()


def test_answers_of_the_real_models_are_described(server: Server) -> None:
    picture = (STATIC / "sample.jpg").read_bytes()
    one = "/predictions/{model_name}"

    def ask(model: str, **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        parts = {"path_parameters": {"model_name": model}, "body": picture, "media_type": "image/jpeg"}
        return send(server, one, headers=sent, **parts)

    assert len(ask("fd1")) == 4
    assert len(ask("td1", X_Conf_Threshold="0.2")) == 5
    assert {"text", "text_conf"} < ask("ocr1", X_Split="characters")[0].keys()
    assert ask("td1", X_Maps="on").keys() == {"detections", "maps"}
    text = base64.b64encode(picture).decode()
    named = {"path_parameters": {"model_name": "fd1"}, "media_type": "application/json"}
    body: dict[str, Any] = {"instances": [{"data": text}, {"data": "?"}]}
    many = send(server, "/v1/models/{model_name}:predict", "POST", body=body, **named)
    assert [len(many["predictions"][0]), many["predictions"][1]["code"]] == [4, 400]
    body = {"id": "a", "inputs": [{"name": "p", "shape": [1], "datatype": "BYTES", "data": [text]}]}
    assert send(server, "/v2/models/{model_name}/infer", "POST", body=body, **named)["id"] == "a"
    faulty = {"instances": [{"data": text, "conf_threshold": 7}]}
    assert (
        send(server, "/v1/models/{model_name}:predict", "POST", body=faulty, **named)["predictions"][0]["code"] == 422
    )


def test_refusals_of_the_real_server_are_described(server: Server) -> None:
    huge = cv2.imencode(".png", np.zeros((10_100, 10_000), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    for status, model, data, headers in (
        (404, "fd9", b"x", {}),
        (400, "fd1", b"x", {}),
        (413, "fd1", huge, {}),
        (415, "fd1", b"%PDF-1.7\n", {}),
        (422, "fd1", (STATIC / "sample.jpg").read_bytes(), {"X-Max-Detections": "0"}),
    ):
        parts = {"path_parameters": {"model_name": model}, "body": data, "media_type": "application/octet-stream"}
        assert send(server, "/predictions/{model_name}", headers=headers, **parts)["code"] == status


def test_pictures_are_taken_in_every_form_that_is_described(server: Server) -> None:
    picture = (STATIC / "sample.jpg").read_bytes()
    text = base64.b64encode(picture).decode()
    named = {"path_parameters": {"model_name": "fd1"}}
    instances: list[Any] = [text, *({name: text} for name in INSTANCE_FIELDS), {"image": {"b64": text}}]
    body = {"instances": [*instances, {"data": text, "max_detections": 2}]}
    jsonschema.Draft202012Validator(
        {"components": DESCRIPTION["components"], "$ref": "#/components/schemas/V1Request"}
    ).validate(body)
    parts = {**named, "body": body, "media_type": "application/json", "headers": {"X-Max-Detections": "3"}}
    answers = send(server, "/v1/models/{model_name}:predict", "POST", **parts)["predictions"]
    assert [len(each) for each in answers] == [3] * len(instances) + [2]
    versions = {"path_parameters": {"model_name": "fd1", "model_version": "1.0"}}
    for name in {*ROW_FIELDS} - {"body"}:
        parts = {**versions, "body": {name: picture, "max_detections": 1}, "media_type": "multipart/form-data"}
        assert len(send(server, "/predictions/{model_name}/{model_version}", "POST", **parts)) == 1


@pytest.fixture
def statuses() -> Iterator[list[int]]:
    """The statuses of the answers of models, most of which a model that is there has to have given."""
    seen: list[int] = []
    yield seen
    print(f"answered: {dict(sorted(Counter(seen).items()))}")
    assert sum(status == 404 for status in seen) <= len(seen) / 3, seen


@pytest.mark.slow
@api.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_answer_lies_outside_of_the_description(case: Any, server: Server, statuses: list[int]) -> None:
    """Bodies, headers and paths by the description, and beside it; in nine of ten a model that there is."""
    asked = zlib.crc32(repr((case.path_parameters, case.headers, case.body)).encode()) % 10
    there = {"model_name": ("fd1", "td1", "ocr1")[asked % 3], "model_version": "1.0"}
    case.path_parameters |= {name: there[name] for name in case.path_parameters if asked}
    response = case.call(base_url=server.url)
    case.validate_response(response, checks=INSIDE)
    if "model_name" in case.path_parameters:
        statuses.append(response.status_code)
    if response.status_code >= 500:
        assert json.loads(response.content)["type"] == UNREADABLE_FORM

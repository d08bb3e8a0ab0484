"""KServe's JSON forms over HTTP and gRPC: several pictures in one request, each with its own answer or error."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import requests

from detserve.client import grpc as grpc_client
from detserve.worker.envelope import MAX_PICTURES
from tests.harness.server import Server


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def post(server: Server, document: Any, path: str = "predictions/fd1", **headers: str) -> requests.Response:
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    answer = requests.post(f"{server.url}/{path}", json=document, headers=sent, timeout=60)
    assert answer.headers["Content-Type"] == "application/json"
    return answer


def inputs(*data: str, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "pictures", "shape": [len(data)], "datatype": "BYTES", "data": list(data)}], **more}


def detections(answer: requests.Response) -> list[Any]:
    """What a v2 answer says of each picture, after a look at its form."""
    (output,) = answer.json()["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("detections", "BYTES", [len(output["data"])])
    return [json.loads(text) for text in output["data"]]


@pytest.fixture(scope="module")
def plain(server: Server, astronaut: bytes) -> list[Any]:
    """What the picture's bytes by themselves are answered with."""
    return server.predict("fd1", astronaut).json()


@pytest.mark.parametrize("path", ["predictions/fd1", "predictions/fd1/1.0", "v1/models/fd1:predict"])
@pytest.mark.parametrize("form", ["data", "image", "b64", "nested", "bare"])
def test_v1_answers_as_the_bytes_do(server, astronaut: bytes, plain: list[Any], path: str, form: str) -> None:
    text = b64(astronaut)
    instance = {"nested": {"image": {"b64": text}}, "bare": text}.get(form, {form: text})
    answer = post(server, {"instances": [instance]}, path)
    assert (answer.status_code, answer.json()) == (200, {"predictions": [plain]})
    assert answer.headers["X-Image-Size"] == "512x512"
    assert answer.headers["X-Model"] == "fd1/1.0"


@pytest.mark.parametrize("path", ["predictions/fd1", "v2/models/fd1/infer"])
def test_v2_answers_as_the_bytes_do(server, astronaut: bytes, plain: list[Any], path: str) -> None:
    answer = post(server, inputs(b64(astronaut), b64(astronaut), id="seven"), path)
    body = answer.json()
    assert (answer.status_code, body["id"], body["model_name"], body["model_version"]) == (200, "seven", "fd1", "1.0")
    assert detections(answer) == [plain, plain]
    assert "id" not in post(server, inputs(b64(astronaut)), path).json()


def test_a_file_of_json_is_taken_whatever_curl_calls_it(server, astronaut: bytes, plain: list[Any]) -> None:
    body = json.dumps({"instances": [{"data": base64.encodebytes(astronaut).decode()}]}, indent=1).encode()
    for kind in ("application/json", "application/json; charset=utf-8", "application/octet-stream"):
        url, headers = f"{server.url}/predictions/fd1", {"Content-Type": kind}
        assert requests.post(url, data=b"\n" + body, headers=headers, timeout=30).json() == {"predictions": [plain]}
    assert requests.put(f"{server.url}/predictions/fd1", data=body, timeout=30).json() == {"predictions": [plain]}


def test_grpc_answers_the_forms_too(server, astronaut: bytes, plain: list[Any]) -> None:
    with grpc_client.channel(f"127.0.0.1:{server.grpc_port}") as channel:

        def ask(document: Any) -> Any:
            return json.loads(grpc_client.predict(channel, "fd1", json.dumps(document).encode(), {}, 30))

        assert ask({"instances": [{"data": b64(astronaut)}]}) == {"predictions": [plain]}
        assert json.loads(ask(inputs(b64(astronaut)))["outputs"][0]["data"][0]) == plain


def test_text_is_read_for_each_picture(server, shared: Path) -> None:
    sign = b64((shared / "images/stop_sign.jpg").read_bytes())
    answer = post(server, {"instances": [{"data": sign}, {"data": sign, "detect": "off"}]}, "v1/models/ocr1:predict")
    first, second = answer.json()["predictions"]
    assert "STOP" in [region["text"] for region in first]
    assert len(second) == 1 and second[0]["xywh_ratio"] == [0.5, 0.5, 1, 1]


def test_each_bad_picture_has_its_error_in_its_place(server, astronaut: bytes, plain: list[Any]) -> None:
    pids = server.pids("fd1")
    texts = [b64(astronaut), b64(b"hello"), "?!", b64(astronaut[:90_000]), b64(b"%PDF-1.7"), "", b64(astronaut)]
    codes = [None, 400, 400, 400, 415, 400, None]
    for said in (
        post(server, {"instances": [{"data": text} for text in texts]}).json()["predictions"],
        detections(post(server, inputs(*texts))),
    ):
        assert said[0] == said[-1] == plain
        assert [None if isinstance(each, list) else each["code"] for each in said] == codes
        assert "base64" in said[2]["message"]
    odd = [{}, {"data": None}, {"data": 7}, {"image": {"url": "x"}}, 7, None, ["x"], {"data": b64(astronaut)}]
    answer = post(server, {"instances": odd})
    assert [isinstance(each, list) for each in answer.json()["predictions"]] == [False] * 7 + [True]
    assert server.pids("fd1") == pids


def test_where_none_is_answered_the_status_is_that_of_the_first_error(server, astronaut: bytes) -> None:
    wrong = post(server, {"instances": [{"data": "no base64!"}, {"data": b64(b"%PDF-1.7")}]})
    assert wrong.status_code == 400
    assert [each["code"] for each in wrong.json()["predictions"]] == [400, 415]
    assert post(server, inputs(b64(b"%PDF-1.7"))).status_code == 415
    assert post(server, inputs(b64(astronaut)), X_Conf_Threshold="2").status_code == 422


def test_options_stand_in_the_instance_in_the_parameters_and_in_the_headers(server, astronaut: bytes) -> None:
    text = b64(astronaut)
    instances = [{"data": text}, {"data": text, "conf_threshold": 0.999}, {"data": text, "conf_threshold": "lots"}]
    one, none, faulty = post(server, {"instances": instances}).json()["predictions"]
    assert (len(one), none, faulty["code"]) == (1, [], 422)
    many = {"data": text, "conf_threshold": 0.02, "iou_threshold": 1, "max_detections": 3}
    answer = post(server, {"instances": [many, {"data": text}]}, X_Conf_Threshold="0.999")
    assert [len(each) for each in answer.json()["predictions"]] == [3, 0]
    document = inputs(text, text, parameters={"conf_threshold": 0.999})
    assert detections(post(server, document)) == [[], []]
    document["inputs"] += [inputs(text)["inputs"][0] | {"parameters": {"conf_threshold": 0.5}}]
    assert [len(each) for each in detections(post(server, document))] == [0, 0, 1]


@pytest.mark.parametrize(
    ("document", "status", "kind", "says"),
    [
        ({}, 400, "bad_request", "'instances' or 'inputs'"),
        ({"instances": "x"}, 400, "bad_request", "'instances' or 'inputs'"),
        ({"instances": []}, 400, "bad_request", "holds no picture"),
        ({"inputs": []}, 400, "bad_request", "holds no picture"),
        ({"inputs": ["x"]}, 400, "bad_request", "'BYTES'"),
        ({"inputs": [{"datatype": "UINT8", "data": [255]}]}, 400, "bad_request", "'BYTES'"),
        ({"inputs": [{"datatype": "BYTES", "data": ["AA"], "shape": [2]}]}, 400, "bad_request", "shape [1], not [2]"),
        ({"instances": [{"data": "AA"}] * (MAX_PICTURES + 1)}, 413, "too_many_pictures", "at most"),
        (inputs(*["AA"] * (MAX_PICTURES + 1)), 413, "too_many_pictures", "at most"),
        ({"instances": [[]] * 100_000}, 413, "too_many_pictures", "values"),
    ],
)
def test_a_faulty_request_is_refused_whole(server, document: Any, status: int, kind: str, says: str) -> None:
    answer = post(server, document)
    body = answer.json()
    assert (answer.status_code, body["code"], body["type"]) == (status, status, kind)
    assert says in body["message"]


@pytest.mark.parametrize("body", [b"{", b'{"instances": [{"data": "AA"}]', b"{" * 3000, b'{"a": ' + b"9" * 9999 + b"}"])
def test_what_only_begins_like_json_is_400(server, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{server.url}/predictions/fd1", data=body, headers=headers, timeout=30)
    assert (answer.status_code, answer.json()["type"]) == (400, "bad_request")


def test_as_many_pictures_as_are_allowed_are_answered(server, astronaut: bytes) -> None:
    import cv2
    import numpy as np

    small = cv2.imencode(".jpg", cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR))[1].tobytes()
    (face,) = server.predict("fd1", small).json()
    answer = post(server, {"instances": [{"data": b64(small)}] * MAX_PICTURES})
    assert (answer.status_code, answer.json()["predictions"]) == (200, [[face]] * MAX_PICTURES)

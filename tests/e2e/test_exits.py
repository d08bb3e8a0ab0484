"""One set of requests against TorchServe, Triton and LitServe, each of them real: their answers are the same bytes."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from benchmarks.exits import Exit, litserve_server
from detserve.bench import command as qpstest
from detserve.bench import samples
from detserve.client import TRITON, AsyncClient, Client
from detserve.client import command as client_command
from detserve.client.http import Http
from detserve.client.protocol import PREDICTIONS, Question
from detserve.client.transport import over_grpc
from tests.harness.archives import Shelf
from tests.harness.exits import asked, detections, document, small
from tests.harness.server import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
"""The first run makes an environment for each of the two, which takes a minute."""

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Case:
    """A picture and its options. file: of the reference material, "" for the photograph."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    cut: int | None = None
    data: bytes | None = None
    hole: bool = False
    """Instead: a JPEG without its middle."""

    def picture(self, astronaut: bytes, shared: Path | None) -> bytes:
        if self.data is not None:
            return self.data
        if self.hole:
            whole = samples.photograph(1280, 720)
            return whole[: len(whole) // 2] + whole[-2:]
        if self.file and shared is None:
            pytest.skip("the reference material (../shared) is not beside this checkout")
        data = (shared / "images" / self.file).read_bytes() if self.file and shared else astronaut
        return data[: self.cut]


CASES = [
    Case("good"),
    Case("a photograph", file="stop_sign.jpg"),
    Case("options", {"conf_threshold": "0.02", "iou_threshold": "1", "max_detections": "3"}),
    Case("nothing found", {"conf_threshold": "0.999"}),
    Case("least size", {"min_size": "0.5"}),
    Case("maps", {"maps": "on"}),
    Case("an option out of range", {"conf_threshold": "2"}),
    Case("an option that is no number", {"max_detections": "lots"}),
    Case("no choice", {"maps": "perhaps"}),
    Case("cut short", cut=90_000),
    Case("a hole", hole=True),
    Case("no picture", data=b"\x00\x01\x02 no picture"),
    Case("another format", data=b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"),
    Case("nothing", data=b""),
]


@pytest.fixture(params=CASES, ids=lambda case: case.name.replace(" ", "-"))
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture
def picture(case: Case, astronaut: bytes, request: pytest.FixtureRequest) -> bytes:
    return case.picture(astronaut, request.getfixturevalue("shared") if case.file else None)


def header(name: str) -> str:
    return "X-" + name.replace("_", "-").title()


def same(one: requests.Response, other: requests.Response) -> None:
    """Two answers of /predictions: status, body and our headers, but for times."""
    assert (one.status_code, one.content) == (other.status_code, other.content)
    for name in ("Content-Type", "X-Model", "X-Image-Size"):
        assert one.headers.get(name) == other.headers.get(name)
    stages = [re.sub(r"[\d.]+", "", each.headers.get("Server-Timing", "")) for each in (one, other)]
    assert stages[0] == stages[1]


def test_litserve_answers_bodies_and_headers(server: Server, litserve: Exit, case: Case, picture: bytes) -> None:
    headers = {header(name): value for name, value in case.options.items()}
    for path in ("/predictions/fd1", "/predictions/fd1/1.0"):
        same(*(requests.put(s.url + path, picture, headers=headers, timeout=60) for s in (server, litserve)))


@pytest.mark.parametrize("name", ["data", "image", "file"])
def test_litserve_answers_forms(server: Server, litserve: Exit, case: Case, picture: bytes, name: str) -> None:
    path, form = "/predictions/fd1", {name: ("a.jpg", picture)}
    same(*(requests.post(s.url + path, files=form, data=case.options, timeout=60) for s in (server, litserve)))


@pytest.mark.parametrize("size", [0, 2 * 2**20])
def test_litserve_answers_forms_without_the_name_of_a_file(
    server: Server, litserve: Exit, astronaut: bytes, size: int
) -> None:
    form = {"data": (None, astronaut + bytes(size))}
    same(*(requests.post(s.url + "/predictions/fd1", files=form, timeout=60) for s in (server, litserve)))


def test_all_answer_v2(server: Server, litserve: Exit, triton: Exit, case: Case, picture: bytes) -> None:
    sent = document([picture], case.options)
    ours, lit, nvidia = (asked(each, sent) for each in (server, litserve, triton))
    same(ours, lit)
    assert detections(nvidia) == detections(ours)
    # Triton's own form of bytes: no base64.
    with Http(triton.url, form=TRITON) as client:
        reply = client(Question("fd1", picture, case.options))
    plain = server.predict("fd1", picture, **{header(name): value for name, value in case.options.items()})
    assert (reply.status, reply.body) == (plain.status_code, plain.content)
    with over_grpc(triton.grpc, v2=True) as ask:
        assert ask(Question("fd1", picture, case.options)).body == plain.content


def test_a_bad_neighbour_harms_nobody(server: Server, litserve: Exit, triton: Exit, astronaut: bytes) -> None:
    sent = document([astronaut, b"hello", "?!", astronaut[:90_000], b"%PDF-1.7", "", astronaut], {})
    ours, lit, nvidia = (asked(each, sent) for each in (server, litserve, triton))
    same(ours, lit)
    assert detections(nvidia) == detections(ours)
    assert [isinstance(json.loads(each), list) for each in detections(ours)] == [True, *[False] * 5, True]


def test_neighbours_of_other_requests_harm_nobody(litserve: Exit, triton: Exit, astronaut: bytes) -> None:
    """Requests that come together are answered together: each has its own options and errors."""
    kinds = [([astronaut], {}, 1), ([b"bad"], {}, 400), ([astronaut], {"conf_threshold": 0.999}, 0),
             ([astronaut], {"conf_threshold": 7}, 422)]  # fmt: skip
    for each in (litserve, triton):
        with ThreadPoolExecutor(16) as callers:
            many = [kinds[i % 4] for i in range(64)]
            answers = callers.map(lambda kind, to=each: asked(to, document(kind[0], kind[1])), many)
            for (_, _, wanted), answer in zip(many, answers, strict=True):
                (said,) = map(json.loads, detections(answer))
                assert (len(said) if isinstance(said, list) else said["code"]) == wanted


def test_headers_carry_options_to_triton_too(server: Server, triton: Exit, astronaut: bytes) -> None:
    sent, headers = document([astronaut], {}), {"X-Conf-Threshold": "0.999"}
    for each in (server, triton):
        url = f"{each.url}/v2/models/fd1/infer"
        assert detections(requests.post(url, json=sent, headers=headers, timeout=60)) == ["[]"]
        sent_with_both = document([astronaut], {"conf_threshold": "0.5"})
        assert detections(requests.post(url, json=sent_with_both, headers=headers, timeout=60)) != ["[]"]


@pytest.mark.parametrize("model", ["td1", "ocr1"])
@pytest.mark.parametrize("options", [{}, {"detect": "off"}, {"split": "words"}])
def test_triton_reads_as_torchserve_does(
    server: Server, triton: Exit, shared: Path, model: str, options: Mapping[str, str]
) -> None:
    sent = document([(shared / "images/stop_sign.jpg").read_bytes()], options)
    ours, nvidia = (asked(each, sent, model) for each in (server, triton))
    assert detections(nvidia, model) == detections(ours, model)


@pytest.mark.parametrize("model", ["td1", "ocr1"])
def test_litserve_reads_as_torchserve_does(
    server: Server, shelf: Shelf, litserve: Exit, shared: Path, tmp_path: Path, model: str
) -> None:
    picture = (shared / "images/stop_sign.jpg").read_bytes()
    with litserve_server(shelf.get(model), tmp_path) as lit:
        for headers in ({}, {"X-Detect": "off"}, {"X-Split": "words"}):
            both = (requests.put(f"{s.url}/predictions/{model}", picture, headers=headers, timeout=60)
                    for s in (server, lit))  # fmt: skip
            same(*both)


@pytest.mark.parametrize("count", [32, 33])
def test_so_many_pictures_a_request(server: Server, litserve: Exit, triton: Exit, astronaut: bytes, count: int) -> None:
    sent = document([small(astronaut)] * count, {})
    ours, lit, nvidia = (asked(each, sent) for each in (server, litserve, triton))
    same(ours, lit)
    if count == 32:
        assert detections(nvidia) == detections(ours)
    else:
        assert (ours.status_code, ours.json()["type"]) == (413, "too_many_pictures")
        assert (nvidia.status_code, *nvidia.json()) == (400, "error")


def test_what_our_v2_takes_and_triton_does_not(server: Server, litserve: Exit, triton: Exit, astronaut: bytes) -> None:
    """A shape without its second axis is refused there, and `parameters` of the input are passed over."""
    flat, inner = document([astronaut], {}), document([astronaut], {})
    flat["inputs"][0]["shape"] = [1]
    inner["inputs"][0]["parameters"] = {"conf_threshold": 0.999}
    ours, lit, nvidia = (asked(each, flat) for each in (server, litserve, triton))
    same(ours, lit)
    assert ours.ok and (nvidia.status_code, *nvidia.json()) == (400, "error")
    ours, lit, nvidia = (asked(each, inner) for each in (server, litserve, triton))
    same(ours, lit)
    assert detections(ours) == ["[]"] != detections(nvidia)
    said = [(body["model_version"], body["outputs"][0]["shape"]) for body in (ours.json(), nvidia.json())]
    assert said == [("1.0", [1]), ("1", [1, 1])]
    nobodys = asked(triton, document([astronaut], {}), "other")
    assert (nobodys.status_code, *nobodys.json()) == (404, "error")


@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_litserve_takes_kserves_v1_and_odd_json(server: Server, litserve: Exit, astronaut: bytes, form: str) -> None:
    text = base64.b64encode(astronaut).decode()
    for sent in (
        {form: []},
        {form: "x"},
        {form: [{"data": text, "max_detections": 1}, {"data": 7}]},
        {form: [[]] * 9000},
    ):
        for path in ("/v1/models/fd1:predict", "/predictions/fd1"):
            same(*(requests.post(s.url + path, json=sent, timeout=60) for s in (server, litserve)))


def test_what_litserve_refuses_itself_is_in_our_form(litserve: Exit) -> None:
    url = f"{litserve.url}/predictions/fd1"
    answers = {
        404: requests.put(f"{litserve.url}/predictions/other", b"a", timeout=60),
        405: requests.delete(url, timeout=60),
        413: requests.put(url, bytes(33 * 2**20), timeout=60),
        400: requests.post(url, b"a", headers={"Content-Type": "multipart/form-data"}, timeout=60),
    }
    types = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 400: "bad_request"}
    for status, answer in answers.items():
        said = answer.json()
        assert (answer.status_code, said["code"], said["type"]) == (status, status, types[status])
    assert requests.get(f"{litserve.url}/ping", timeout=60).json() == {"status": "Healthy"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # as curl --data-binary says unless told otherwise
    assert requests.post(url, b"no picture", headers=form, timeout=60).json()["type"] == "bad_picture"


PROTOCOLS = ("http", "triton", "triton-grpc")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_client_the_library_and_qpstest_speak_to_all(
    litserve: Exit, triton: Exit, portraits: Path, tmp_path: Path, protocol: str
) -> None:
    url = {"http": litserve.url, "triton": triton.url, "triton-grpc": triton.grpc}[protocol]
    at = ["--model", "fd1", "--protocol", protocol, "--url", url]
    picture = portraits / "0-upright-1.0.png"
    assert client_command.main([str(picture), *at, "--json", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / f"{picture.stem}.json").read_text("utf-8"))
    form = PREDICTIONS if protocol == "http" else TRITON
    if protocol != "triton-grpc":
        with Client(url, form=form) as client:
            (face,) = client.faces(picture)
            assert [face.conf] == [each["conf"] for each in written]

        async def found() -> list[float]:
            async with AsyncClient(url, form=form) as client:
                return [face.conf for face in await client.faces(picture)]

        assert asyncio.run(found()) == [face.conf]
    load = ["--pictures", "512x512", "--concurrency", "4", "--warmup", "0", "--duration", "1"]
    assert qpstest.main([*at, *load, "--json", str(tmp_path / "load.json")]) == 0
    (record,) = json.loads((tmp_path / "load.json").read_text("utf-8"))["loads"]
    assert record["hits"] > 4 and not record["errors"]

"""One set of requests against TorchServe, Triton and LitServe, each of them real: their answers are the same bytes."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
import requests
from PIL import Image

from benchmarks.exits import Exit, NoPackages, litserve_server, triton_on, triton_server
from detserve.bench import command as qpstest
from detserve.bench import samples
from detserve.client import TRITON, Client
from detserve.client import command as client_command
from detserve.client.http import Http
from detserve.client.protocol import PREDICTIONS, Question
from detserve.client.transport import over_grpc
from detserve.errors import SetupError
from detserve.pack.exits import triton as triton_exit
from tests.harness.archives import Shelf
from tests.harness.server import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
"""The first run makes an environment for each of the two, which takes a minute."""

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def litserve(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exit]:
    try:
        with litserve_server(shelf.get("fd1"), tmp_path_factory.mktemp("litserve")) as server:
            yield server
    except NoPackages as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def triton(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exit]:
    try:
        archives = [shelf.get(name) for name in ("fd1", "td1", "ocr1")]
        with triton_server(archives[0], tmp_path_factory.mktemp("triton"), *archives[1:]) as server:
            yield server
    except NoPackages as error:
        pytest.skip(str(error))


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


def document(pictures: Sequence[bytes | str], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A request of v2, in the one shape that all take; text stands as it is, where base64 should."""
    data = [each if isinstance(each, str) else base64.b64encode(each).decode() for each in pictures]
    tensor = {"name": "pictures", "shape": [len(data), 1], "datatype": "BYTES", "data": data}
    return {"id": "seven", "parameters": parameters, "inputs": [tensor]}


def detections(answer: requests.Response, model: str = "fd1") -> list[str]:
    """The strings of an answer of v2, each of which is what a picture is answered with."""
    body = answer.json()
    (output,) = body["outputs"]
    assert (body["id"], body["model_name"]) == ("seven", model)
    assert (output["name"], output["datatype"], output["shape"][0]) == ("detections", "BYTES", len(output["data"]))
    return output["data"]


def asked(server: Server | Exit, sent: Mapping[str, Any], model: str = "fd1") -> requests.Response:
    return requests.post(f"{server.url}/v2/models/{model}/infer", json=sent, timeout=60)


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
    }
    for status, answer in answers.items():
        assert (answer.status_code, answer.json()["code"]) == (status, status)
    assert requests.get(f"{litserve.url}/ping", timeout=60).json() == {"status": "Healthy"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # as curl --data-binary says unless told otherwise
    assert requests.post(url, b"no picture", headers=form, timeout=60).json()["type"] == "bad_picture"


def test_triton_is_ready_when_its_models_have_answered(triton: Exit, shelf: Shelf, tmp_path: Path) -> None:
    """One whose picture for the warm-up is broken is not served, so the warm-up comes first."""
    for name in ("fd1", "td1", "ocr1"):
        (stats,) = requests.get(f"{triton.url}/v2/models/{name}/stats", timeout=60).json()["model_stats"]
        assert stats["version"] == "1"
        configuration = requests.get(f"{triton.url}/v2/models/{name}/config", timeout=60).json()
        assert [each["name"] for each in configuration["model_warmup"]] == ["drawn"]
    triton_exit.lay_out(shelf.get("fd1"), tmp_path / "models")
    (tmp_path / "models/fd1/warmup/pictures").write_bytes(b"\xff\xff\xff\x7f")
    with pytest.raises(SetupError), triton_on(tmp_path / "models", tmp_path):
        pass


def test_a_worker_of_litserve_that_dies_is_started_anew(litserve: Exit, astronaut: bytes) -> None:
    """Its requests may get a 500, and no others."""

    def workers() -> list[int]:
        found = []
        for process in litserve.process.children(recursive=True):
            with suppress(psutil.Error):  # one that has just ended
                if "spawn_main" in " ".join(process.cmdline()):
                    found.append(process.pid)
        return found

    before = workers()
    os.kill(before[0], signal.SIGKILL)
    time.sleep(2)
    deadline, good, said = time.monotonic() + 60, 0, set()
    while good < 20 or len(workers()) < len(before):
        assert time.monotonic() < deadline, (said, workers())
        status = asked(litserve, document([astronaut], {})).status_code
        said.add(status)
        good = good + 1 if status == 200 else 0
    assert said <= {200, 500}


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
    load = ["--pictures", "512x512", "--concurrency", "4", "--warmup", "0", "--duration", "1"]
    assert qpstest.main([*at, *load, "--json", str(tmp_path / "load.json")]) == 0
    (record,) = json.loads((tmp_path / "load.json").read_text("utf-8"))["loads"]
    assert record["hits"] > 4 and not record["errors"]


def test_triton_answers_what_is_under_way_when_it_is_ended(
    shelf: Shelf, tmp_path: Path, triton: Exit, astronaut: bytes
) -> None:
    triton_exit.lay_out(shelf.get("fd1"), tmp_path / "models")
    buffer = io.BytesIO()
    Image.open(io.BytesIO(astronaut)).save(buffer, "JPEG")
    sent = document([buffer.getvalue()] * 30, {})  # a small body, which has arrived long before it is answered
    with triton_on(tmp_path / "models", tmp_path) as server, ThreadPoolExecutor(8) as callers:
        running = [callers.submit(asked, server, sent) for _ in range(8)]
        wait(running, return_when=FIRST_COMPLETED)  # by then the others have arrived
        waiting = sum(not each.done() for each in running)
        server.process.terminate()
        assert [each.result().status_code for each in running] == [200] * 8
        assert waiting > 2


def test_a_model_that_cannot_load_says_why(shelf: Shelf, tmp_path: Path, triton: Exit) -> None:
    triton_exit.lay_out(shelf.get("fd1"), tmp_path / "models")
    for path in (tmp_path / "models/fd1/1/engine/detect").glob("*"):
        path.write_bytes(b"no network")
    with pytest.raises(SetupError), triton_on(tmp_path / "models", tmp_path):
        pass
    assert re.search(r"fd1 cannot be loaded: .+", (tmp_path / "triton.log").read_text("utf-8"))


@pytest.mark.long  # provoked by a pause at the right moment: on a busy machine it once ended without a line
def test_an_instance_that_triton_gave_up_ends_and_triton_says_so(shelf: Shelf, tmp_path: Path, triton: Exit) -> None:
    """Triton alone would wait for it for ever, without a line in its log."""
    triton_exit.lay_out(shelf.get("fd1"), tmp_path / "models")
    Thread(target=pause_an_instance, args=(tmp_path / "models/fd1/1/model.py", 3.0), daemon=True).start()
    with pytest.raises(SetupError), triton_on(tmp_path / "models", tmp_path):
        pass
    log = (tmp_path / "triton.log").read_text("utf-8")
    assert re.search(r"fd1_0_[01] was given up by Triton while it was loading", log)
    assert re.search(r"Stub process 'fd1_0_[01]' is not healthy", log)


def pause_an_instance(model: Path, seconds: float) -> None:
    """Stop a process of that model for so long, once it has begun to load the engine."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # one that has just ended
                if str(model) in process.cmdline() and any("openvino" in each.path for each in process.memory_maps()):
                    process.suspend()
                    time.sleep(seconds)
                    process.resume()
                    return
        time.sleep(0.05)


def test_numpy_2_is_refused_by_name(shelf: Shelf, tmp_path: Path, triton: Exit) -> None:
    triton_exit.lay_out(shelf.get("fd1"), tmp_path / "models")
    with pytest.raises(SetupError), triton_on(tmp_path / "models", tmp_path, python=Path(sys.prefix)):
        pass
    assert "wants 1.26" in (tmp_path / "triton.log").read_text("utf-8")

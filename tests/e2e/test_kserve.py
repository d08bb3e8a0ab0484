"""Archives laid out for KServe, served by the command and the environment of the runtime's manifest."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from detserve.pack import command as repack
from detserve.serve.java import find_java
from detserve.serve.launch import free_ports

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "docker" / "kubernetes" / "kserve" / "runtime.yaml"


class Pod:
    """The runtime's container, without the container: its paths and ports are replaced by some of this machine."""

    def __init__(self, layout: Path, tmp: Path) -> None:
        self.port, self.management, metrics, grpc, grpc_management = free_ports().values()
        self._layout, self._tmp = layout, tmp
        ports = {"8080": self.port, "8081": self.management, "8082": metrics}
        self._replaced = {
            **{f":{old}": f":{new}" for old, new in ports.items()},
            "/opt/venv/bin": str(Path(sys.executable).parent),
            "/mnt/models": str(layout),
            "/app": str(ROOT),
            "/tmp": str(tmp),
        }
        (self.container,) = yaml.safe_load(RUNTIME.read_text("utf-8"))["spec"]["containers"]
        self.environment = {entry["name"]: self.local(entry["value"]) for entry in self.container["env"]}
        self.environment |= {"TS_GRPC_INFERENCE_PORT": str(grpc), "TS_GRPC_MANAGEMENT_PORT": str(grpc_management)}

    def local(self, text: str) -> str:
        return re.sub("|".join(map(re.escape, self._replaced)), lambda found: self._replaced[found[0]], text)

    @contextmanager
    def running(self, **more: str) -> Iterator[None]:
        """Until it is left; ready when the readiness probe says so."""
        assert self.container["command"][:2] == ["tini", "--"]
        command = [self.local(word) for word in [*self.container["command"][2:], *self.container["args"]]]
        java = {"JAVA_HOME": str(find_java().parents[1]), "TMPDIR": str(self._tmp)}
        process = subprocess.Popen(
            command,
            cwd=self.local(self.container["workingDir"]),
            env=os.environ | self.environment | java | more,
            stdout=subprocess.DEVNULL,
            process_group=0,
        )
        try:
            deadline = time.monotonic() + 120
            while self.probe() != 0:
                assert process.poll() is None, "TorchServe ended by itself"
                assert time.monotonic() < deadline, "not ready within two minutes"
                time.sleep(0.5)
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)

    def probe(self) -> int:
        command = [self.local(word) for word in self.container["readinessProbe"]["exec"]["command"]]
        return subprocess.run(command, stderr=subprocess.DEVNULL, timeout=30, check=False).returncode

    def post(self, path: str, document: Any) -> requests.Response:
        return requests.post(f"http://127.0.0.1:{self.port}/{path}", json=document, timeout=60)


@pytest.fixture(scope="module")
def layout(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kserve")
    assert repack.main(["--kserve", str(folder), "fd1", "td1", "--out", str(store)]) == 0
    return folder


@pytest.fixture
def run(layout: Path, tmp_path: Path) -> Iterator[Callable[..., Pod]]:
    with ExitStack() as stack:

        def start(**environment: str) -> Pod:
            pod = Pod(layout, tmp_path)
            assert pod.probe() != 0, "ready before it runs"
            stack.enter_context(pod.running(**environment))
            return pod

        yield start


def v1(*pictures: bytes) -> dict[str, Any]:
    return {"instances": [{"data": base64.b64encode(picture).decode()} for picture in pictures]}


def v2(*pictures: bytes) -> dict[str, Any]:
    data = [base64.b64encode(picture).decode() for picture in pictures]
    return {"id": "a", "inputs": [{"name": "p", "shape": [len(data)], "datatype": "BYTES", "data": data}]}


def test_the_runtime_serves_the_layout(run: Callable[..., Pod], layout: Path, astronaut: bytes) -> None:
    assert {path.relative_to(layout).as_posix() for path in layout.rglob("*.*")} == {
        "config/config.properties",
        "model-store/fd1.mar",
        "model-store/td1.mar",
    }
    pod = run()
    plain = requests.put(f"http://127.0.0.1:{pod.port}/predictions/fd1", data=astronaut, timeout=60).json()
    assert len(plain) == 1
    answer = pod.post("v1/models/fd1:predict", v1(astronaut, b"no picture"))
    first, second = answer.json()["predictions"]
    assert (answer.status_code, first, second["code"]) == (200, plain, 400)
    answer = pod.post("v2/models/fd1/infer", v2(astronaut))
    assert json.loads(answer.json()["outputs"][0]["data"][0]) == plain
    assert pod.post("v1/models/td1:predict", v1(astronaut)).status_code == 200
    (model,) = requests.get(f"http://127.0.0.1:{pod.management}/models/fd1", timeout=10).json()
    assert (model["minWorkers"], model["batchSize"], model["maxBatchDelay"]) == (1, 2, 0), "as config/fd1.yaml has it"
    registered = requests.post(f"http://127.0.0.1:{pod.management}/models?url=td1.mar&model_name=x", timeout=30)
    assert registered.status_code == 405, "what is served is what lies in the layout"


@pytest.mark.slow
def test_the_pod_is_not_ready_while_a_worker_is_away(run: Callable[..., Pod], astronaut: bytes) -> None:
    pod = run()
    (worker,) = requests.get(f"http://127.0.0.1:{pod.management}/models/fd1", timeout=10).json()[0]["workers"]
    os.kill(worker["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while pod.probe() == 0:
        assert time.monotonic() < deadline, "ready without a worker"
    while pod.probe() != 0:
        assert time.monotonic() < deadline + 60, "the worker was not started anew"
    assert pod.post("v1/models/fd1:predict", v1(astronaut)).status_code == 200


@pytest.mark.parametrize("decoded", ["true", "false"])
@pytest.mark.slow
def test_torchserves_own_envelope_for_v1(run: Callable[..., Pod], astronaut: bytes, decoded: str) -> None:
    """service_envelope=kserve, as KServe's runtime sets it; and bodies parsed by TorchServe or not."""
    pod = run(TS_SERVICE_ENVELOPE="kserve", TS_DECODE_INPUT_REQUEST=decoded)
    one = pod.post("predictions/fd1", v1(astronaut))
    (plain,) = one.json()["predictions"]
    assert (one.status_code, one.headers["Content-Type"], len(plain)) == (200, "application/json", 1)
    document = v1(astronaut, b"no picture", astronaut)
    document["instances"][2]["conf_threshold"] = 0.999
    first, second, third = pod.post("predictions/fd1", document).json()["predictions"]
    assert (first, second["code"], third) == (plain, 400, [])
    nested = {"instances": [{"image": {"b64": document["instances"][0]["data"]}}, "no base64"]}
    first, second = pod.post("predictions/fd1", nested).json()["predictions"]
    assert (first, second["type"]) == (plain, "bad_picture")
    assert pod.post("predictions/fd1", {"instances": ["no base64"]}).status_code == 400
    assert pod.post("predictions/fd1", v1(*[b"x"] * 33)).status_code == 413


@pytest.mark.slow
def test_torchserves_own_envelope_for_v2(run: Callable[..., Pod], astronaut: bytes) -> None:
    """It takes the first picture of each input, and names the outputs after the inputs."""
    pod = run(TS_SERVICE_ENVELOPE="kservev2")
    document = v2(astronaut)
    document["inputs"] += [v2(b"no picture")["inputs"][0] | {"name": "q"}]
    body = pod.post("predictions/fd1", document).json()
    assert (body["id"], body["model_name"], body["model_version"]) == ("a", "fd1", "1.0")
    first, second = body["outputs"]
    assert (first["name"], first["datatype"], first["shape"]) == ("p", "BYTES", [1])
    assert len(json.loads(first["data"][0])) == 1
    assert (second["name"], json.loads(second["data"][0])["code"]) == ("q", 400)

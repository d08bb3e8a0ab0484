"""From TorchServe to another server under load, behind a real HAProxy, without a failed request."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from benchmarks.exits import NoPackages, litserve_server, triton_server
from detserve.serve.launch import free_ports
from tests.harness.archives import Shelf
from tests.harness.load import Load, Way
from tests.harness.server import ROOT, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CONFIG = next(
    block
    for block in (ROOT / "docs" / "leaving-torchserve.md").read_text("utf-8").split("```\n")
    if block.startswith("global\n")
)
"""That of the document."""


class Proxy:
    """HAProxy in front of an old server and a new one. `switch` is what docs/leaving-torchserve.md does."""

    def __init__(self, folder: Path, old: str, new: str) -> None:
        self.port, self._socket = free_ports()["port"], folder / "admin.sock"
        self._config = folder / "haproxy.cfg"
        config = CONFIG
        for theirs, here in (
            ("/run/haproxy/admin.sock", self._socket),
            (":80\n", f"127.0.0.1:{self.port}\n"),
            ("127.0.0.1:8080", old),
            ("127.0.0.1:8000", new),
        ):
            assert config.count(theirs) == 1
            config = config.replace(theirs, str(here))
        self._config.write_text(config)

    @contextmanager
    def running(self) -> Iterator[None]:
        process = subprocess.Popen(["haproxy", "-db", "-f", str(self._config)])
        try:
            deadline = time.monotonic() + 20
            while not self._socket.exists():
                assert time.monotonic() < deadline, "HAProxy did not start"
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(20)

    def switch(self) -> None:
        self.tell("set server detserve/new state ready")
        self.tell("set server detserve/old state drain")

    def under_way(self) -> int:
        """Requests that the old server has still to answer."""
        states = self.tell("show stat").splitlines()
        fields = states[0].removeprefix("# ").split(",")
        rows = (dict(zip(fields, line.split(","), strict=False)) for line in states[1:])
        return next(int(row["scur"]) for row in rows if row["svname"] == "old")

    def tell(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self._socket))
            admin.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: admin.recv(1 << 16), b"")).decode()


@pytest.fixture
def haproxy() -> None:
    if shutil.which("haproxy") is None:
        pytest.skip("apt-get install haproxy")


@pytest.mark.parametrize("target", ["litserve", "triton"])
def test_no_request_fails_while_torchserve_is_left(
    shelf: Shelf, tmp_path: Path, astronaut: bytes, haproxy: None, target: str
) -> None:
    text = base64.b64encode(astronaut).decode()
    tensor = {"name": "pictures", "shape": [1, 1], "datatype": "BYTES", "data": [text]}
    v2 = json.dumps({"id": "a", "inputs": [tensor]}).encode()
    start, path, method, kind, sent = {
        "litserve": (litserve_server, "/predictions/fd1", "PUT", "image/png", astronaut),
        "triton": (triton_server, "/v2/models/fd1/infer", "POST", "application/json", v2),
    }[target]
    way = Way(path, method, {"Content-Type": kind}, told=lambda _, body: body.decode())
    (tmp_path / "new").mkdir()
    store = shelf.store(tmp_path / "store", "fd1")
    try:
        new = start(shelf.get("fd1"), tmp_path / "new")
        with new as to, ExitStack() as torchserve:
            old = torchserve.enter_context(serving(store, tmp_path / "run", "--workers", "1"))
            proxy = Proxy(tmp_path, f"127.0.0.1:{old.port}", to.url.removeprefix("http://"))
            with proxy.running(), Load(proxy.port, way, [sent], callers=4) as load:
                load.wait_for(40)
                proxy.switch()
                deadline = time.monotonic() + 60
                while proxy.under_way():
                    assert time.monotonic() < deadline, "the old server does not come to rest"
                    time.sleep(0.02)
                torchserve.close()
                load.wait_for(80)
    except NoPackages as error:
        pytest.skip(str(error))
    assert {hit.status for hit in load.hits} == {200}, load.said
    if target == "litserve":
        assert len(load.said) == 1, "both answer the same bytes"
    else:
        assert len({body["outputs"][0]["data"][0] for body in map(json.loads, load.said)}) == 1

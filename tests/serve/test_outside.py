"""A server that listens on all addresses, asked by way of one that is not loopback."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import grpc
import psutil
import pytest
import requests

from detserve.client import grpc as grpc_client
from detserve.demo.command import TOKEN
from detserve.serve.config import Settings
from detserve.serve.frontend import Frontend
from detserve.serve.launch import free_ports
from tests.harness.archives import write_archive
from tests.harness.page import demo
from tests.harness.server import Served, read_key

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def address() -> str:
    """An IPv4 address of this machine that others could reach."""
    every = [
        entry.address for each in psutil.net_if_addrs().values() for entry in each if entry.family == socket.AF_INET
    ]
    outside = [each for each in every if not IPv4Address(each).is_loopback]
    if not outside:
        pytest.skip("this machine has no address but loopback")
    return outside[0]


@pytest.fixture(scope="module")
def opened(guarded: Served) -> Settings:
    """A server on all addresses, which serves `echo`."""
    return guarded.settings


def put(address: str, settings: Settings, **headers: str) -> requests.Response:
    url = f"http://{address}:{settings.port}/predictions/echo"
    with requests.Session() as session:
        session.trust_env = False  # no proxy
        return session.put(url, data=b"a picture", headers=headers, timeout=10)


def key(settings: Settings, kind: str = "inference") -> str:
    found = read_key(settings.run_dir, kind)
    assert found
    return found


def test_http_wants_the_key_of_inference(address: str, opened: Settings) -> None:
    right = key(opened)
    for header in (
        None,
        "",
        right,
        f"Basic {right}",
        f"Bearer {right}x",
        f"Bearer {right[:-1]}",
        f"Bearer {key(opened, 'management')}",
    ):
        answer = put(address, opened, **({} if header is None else {"Authorization": header}))
        assert (answer.status_code, answer.json()["type"]) == (400, "InvalidKeyException"), header
        assert right not in answer.text
    assert put(address, opened, Authorization=f"Bearer {right}").content == b"a picture"


def test_the_page_adds_the_key_and_does_not_tell_it(opened: Settings) -> None:
    named = ("--url", f"http://127.0.0.1:{opened.port}", "--models", "echo")
    for environment, status in (({TOKEN: key(opened)}, 200), ({TOKEN: "wrong"}, 400), ({}, 400)):
        with demo(*named, environment=environment) as page:
            facts = requests.get(f"{page}/models", timeout=10)
            assert facts.json()["models"] == ["echo"] and key(opened) not in facts.text
            answer = requests.put(f"{page}/predictions/echo", data=b"a picture", timeout=10)
            assert answer.status_code == status
            assert answer.content == b"a picture" if status == 200 else answer.json()["type"] == "InvalidKeyException"


def test_grpc_wants_it_too(address: str, opened: Settings) -> None:
    with grpc_client.channel(f"{address}:{opened.grpc_port}") as channel:
        for token in (None, "wrong", key(opened, "management")):
            with pytest.raises(grpc.RpcError) as refused:
                grpc_client.predict(channel, "echo", b"a picture", token=token)
            assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert grpc_client.predict(channel, "echo", b"a picture", token=key(opened)) == b"a picture"


def test_every_way_to_a_prediction_wants_it(address: str, opened: Settings) -> None:
    for path in (
        "predictions/echo/1.0", "explanations/echo", "invocations?model_name=echo", "models/echo/invoke",
        "echo/predict", "v1/models/echo:predict", "v2/models/echo/infer", "ping", "//predictions/echo",
    ):  # fmt: skip
        answer = requests.post(f"http://{address}:{opened.port}/{path}", data=b"a picture", timeout=10)
        assert answer.status_code in (400, 404), path
        assert b"a picture" not in answer.content, path


def test_no_key_is_given_out_there(address: str, opened: Settings) -> None:
    for path in ("token?type=inference", "token?type=management", "predictions/token"):
        answer = requests.get(f"http://{address}:{opened.port}/{path}", timeout=10)
        assert answer.status_code in (400, 404), path
        assert key(opened) not in answer.text


def test_management_and_metrics_are_out_of_reach(address: str, opened: Settings) -> None:
    for port in (opened.management_port, opened.metrics_port, opened.grpc_management_port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, port), timeout=5).close()
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


@pytest.mark.parametrize("path", ["models", "models/echo", "metrics", "workflows"])
def test_what_belongs_to_other_ports_is_not_served_at_the_port_of_inference(
    path: str, address: str, opened: Settings
) -> None:
    allowed = {"Authorization": f"Bearer {key(opened)}"}
    for method in ("GET", "POST", "PUT", "DELETE"):
        url = f"http://{address}:{opened.port}/{path}?url=echo.mar&min_worker=0"
        answer = requests.request(method, url, headers=allowed, timeout=10)
        assert answer.status_code in (404, 405), (method, path, answer.text)
    assert put(address, opened, **allowed).content == b"a picture"


def test_a_stranger_learns_the_version_of_torchserve(address: str, opened: Settings) -> None:
    """docs/security.md says so: TorchServe answers this without a key, and no setting forbids it."""
    for method, path in (("GET", "api-description"), ("OPTIONS", "")):
        answer = requests.request(method, f"http://{address}:{opened.port}/{path}", timeout=10)
        assert answer.json()["info"]["version"] == "0.12.0", "docs/security.md can be mended"
        assert "echo" not in answer.text


def test_only_the_owner_can_read_the_keys(opened: Settings) -> None:
    assert opened.key_file.stat().st_mode & 0o777 == 0o600


def test_on_loopback_tokens_can_be_asked_for(tmp_path: Path) -> None:
    write_archive(tmp_path / "store", "echo")
    settings = Settings(model_store=tmp_path / "store", run_dir=tmp_path / "run", token_auth=True, **free_ports())
    with Frontend(settings):
        url = f"http://127.0.0.1:{settings.management_port}/models"
        assert requests.get(url, timeout=10).status_code == 400
        assert requests.post(f"{url}?url=echo.mar", timeout=10).status_code == 400
        allowed = {"Authorization": f"Bearer {key(settings, 'management')}"}
        assert requests.get(url, headers=allowed, timeout=10).json()["models"] == []
    assert not settings.key_file.exists()
    assert replace(settings, token_auth=None).tokens is False

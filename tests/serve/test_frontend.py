from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import requests

from detserve.errors import ServerFailed
from detserve.places import CONFIG_DIR
from detserve.serve.config import Listener, Settings
from detserve.serve.frontend import Frontend, check_ports
from detserve.serve.launch import free_ports
from tests.harness.server import Served, java_processes, read_key

Serve = Callable[..., Served]


def test_a_taken_port_is_named_with_its_option_and_its_holder() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        name = psutil.Process().name()
        with pytest.raises(ServerFailed, match=rf"^port {port} is taken by {name} \(pid \d+\).*--grpc-port$"):
            check_ports([Listener("--grpc-port", "127.0.0.1", port)])
        with pytest.raises(ServerFailed, match=f"port {port} is taken"):
            check_ports([Listener("--port", "0.0.0.0", port)])
    check_ports([Listener("--grpc-port", "127.0.0.1", port)])


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ServerFailed, match=r"cannot listen on 192\.0\.2\.1:8080 \(--port\): Cannot assign"):
        check_ports([Listener("--port", "192.0.2.1", 8080)])


@pytest.mark.e2e
def test_the_cause_is_told_when_java_ends_at_once(settings: Settings, tmp_path: Path) -> None:
    config = tmp_path / "config"
    shutil.copytree(CONFIG_DIR, config)
    (config / "config.properties").write_text("max_request_size=12MB\n")
    with pytest.raises(ServerFailed, match=r'^TorchServe did not start: Invalid configuration: .*"12MB"$'):
        Frontend(replace(settings, config_dir=config)).start()
    assert java_processes(settings) == []


@pytest.mark.e2e
def test_two_servers_do_not_share_a_run_directory(settings: Settings) -> None:
    with Frontend(settings) as frontend:
        with pytest.raises(ServerFailed, match=r"another server runs in .*--run-dir"):
            Frontend(replace(settings, **free_ports())).start()
        with pytest.raises(ServerFailed, match=f"port {settings.port} is taken by java"):
            Frontend(settings).start()
        assert settings.tmp.is_dir()  # the first was left alone
        frontend.stop()
        frontend.stop()  # nothing is left to do
    assert java_processes(settings) == []
    assert not settings.tmp.exists()


@pytest.mark.e2e
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGINT, signal.SIGHUP))]
)
def test_a_signal_ends_all_processes_with_status_0(number: signal.Signals, settings: Settings, serve_py: Serve) -> None:
    served = serve_py(settings)
    served.wait_ready()
    assert served.hint == f"Try: curl -T img.jpg http://127.0.0.1:{settings.port}/predictions/echo"
    url = f"http://127.0.0.1:{settings.port}/predictions/echo"
    assert requests.put(url, data=b"a picture", timeout=10).content == b"a picture"
    assert len(served.family) == 2  # Java and one worker
    assert served.end(number) == (0, "")
    assert [process for process in served.family if process.is_running()] == []
    check_ports(settings.listeners)


@pytest.mark.e2e
def test_a_signal_while_java_starts_leaves_nothing(settings: Settings, serve_py: Serve) -> None:
    served = serve_py(settings)
    while not java_processes(settings):
        assert served.process.poll() is None
    assert served.end(signal.SIGTERM) == (0, "")
    assert java_processes(settings) == []


@pytest.mark.slow
@pytest.mark.e2e
def test_when_java_dies_so_does_the_server(settings: Settings, serve_py: Serve) -> None:
    served = serve_py(settings)
    served.wait_ready()
    (java,) = (process for process in served.family if "java" in process.name())
    java.kill()
    status, errors = served.end()
    assert status == 1
    assert errors.startswith("serve: TorchServe ended by itself, killed by signal 9")
    psutil.wait_procs(served.family, 5)
    assert [process for process in served.family if process.is_running()] == []


@pytest.mark.e2e
def test_off_loopback_requests_need_a_key(guarded: Served) -> None:
    settings = guarded.settings
    assert '-H "Authorization: Bearer $KEY" -T img.jpg http://127.0.0.1:' in guarded.hint
    url = f"{guarded.url}/predictions/echo"
    assert requests.put(url, data=b"a picture", timeout=10).status_code == 400
    key = read_key(settings.run_dir, "inference")
    allowed = {"Authorization": f"Bearer {key}"}
    assert requests.put(url, data=b"a picture", headers=allowed, timeout=10).content == b"a picture"
    java = next(process for process in guarded.family if "java" in process.name())
    listening = {
        c.laddr.port: c.laddr.ip.removeprefix("::ffff:") for c in java.net_connections() if c.status == "LISTEN"
    }
    assert set(listening) == {port for _, _, port in settings.listeners}
    assert listening[settings.management_port] == listening[settings.grpc_management_port] == "127.0.0.1"
    assert listening[settings.metrics_port] == "127.0.0.1"
    assert listening[settings.port] in ("::", "0.0.0.0")


def test_a_missing_archive_is_named(settings: Settings, serve_py: Serve) -> None:
    assert serve_py(settings, "fd9").end() == (
        1,
        f"serve: no {settings.model_store}/fd9.mar, only echo: make model_store/fd9.mar, or python repack.py fd9\n",
    )
    (settings.model_store / "echo.mar").write_text("cut short")
    assert "echo.mar is no archive" in serve_py(settings).end()[1]
    (settings.model_store / "echo.mar").unlink()
    status, errors = serve_py(settings).end()
    assert (status, errors.splitlines()[0][:21]) == (1, "serve: no archive in ")

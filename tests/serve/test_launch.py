from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import requests

from detserve.errors import ServerFailed
from detserve.serve import command
from detserve.serve.config import Settings
from detserve.serve.frontend import check_ports
from detserve.serve.launch import free_ports, launch, options


def test_ports_are_free_and_each_is_another(settings: Settings) -> None:
    assert len(set(free_ports().values())) == 5
    check_ports(settings.listeners)


def test_two_processes_are_never_given_the_same_port() -> None:
    """Nobody listens yet when both choose, so that a free port alone is no promise."""
    taken = "from detserve.serve.launch import free_ports\nfor _ in range(20): print(*free_ports().values())"
    theirs = [subprocess.run([sys.executable, "-c", taken], capture_output=True, check=True) for _ in range(3)]
    ours = {port for _ in range(20) for port in free_ports().values()}
    for other in theirs:
        assert len(ports := set(map(int, other.stdout.split()))) > 50 and not ports & ours


def test_settings_come_back_from_the_command_line(settings: Settings) -> None:
    for changed in (
        settings,
        replace(settings, address="0.0.0.0", metrics_address="0.0.0.0", token_minutes=7),
        replace(settings, token_auth=True),
        replace(settings, token_auth=False),
    ):
        assert command._settings(command.parse(options(changed), "serve.py")) == changed


@pytest.mark.e2e
@pytest.mark.slow
def test_a_server_is_ready_in_the_block_and_gone_after_it(settings: Settings) -> None:
    with launch(settings, "--workers", "1") as server:
        assert server.printed.splitlines()[1].endswith(": echo (1 worker)")
        assert requests.put(f"{server.url}/predictions/echo", data=b"a picture", timeout=30).content == b"a picture"
        assert requests.get(f"{server.management}/models", timeout=30).ok
    assert server.process.returncode == 0
    check_ports(settings.listeners)


def test_who_does_not_start_says_why(settings: Settings) -> None:
    with pytest.raises(ServerFailed, match=r"status 1 before it was ready: .*no .*fd9\.mar"), launch(settings, "fd9"):
        pass


def test_who_is_late_is_told_and_can_be_ended(settings: Settings) -> None:
    server = launch(settings, program=[sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(ServerFailed, match="the server is not ready after 0 s; see "):
        server.wait_ready(0)
    assert server.end() == (-15, "")
    assert server.end() == (-15, "")


def test_who_ignores_the_end_is_killed_and_a_fault_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detserve.serve.launch.END_SECONDS", 0.5)
    code = (
        "import signal, sys; signal.signal(15, signal.SIG_IGN); print('Ready in 0 s\\nTry', flush=True); signal.pause()"
    )
    with (
        pytest.raises(ServerFailed, match="status -9"),
        launch(settings, program=[sys.executable, "-c", code]) as server,
    ):
        assert server.process.poll() is None

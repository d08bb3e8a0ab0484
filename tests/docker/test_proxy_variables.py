"""What the proxy's entry point refuses before anything starts."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from benchmarks.proxy import missing
from tests.harness.server import DOCKER

ENTRYPOINT = DOCKER / "proxy" / "entrypoint.sh"
OF_THE_CONTAINER = {"ADDRESS", "PORT", "RUN_DIR", "TLS_CERTIFICATE", "TLS_KEY"}


def refusal(folder: Path, **variables: str) -> str:
    """The one line with which it ends by status 1."""
    environment = {**os.environ, "TLS": "off", "PORT": "1", "RUN_DIR": str(folder), **variables}
    ended = subprocess.run([ENTRYPOINT], env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1), ended
    return ended.stderr.removeprefix("proxy: ").rstrip()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("PORT", ("0", "65536", "99999", "http")),
        ("SERVER", ("server", "server:0", "server:65536", "http://server:80")),
        ("ADDRESS", ("999.1.1.1", "256.0.0.1", "10.0.0", "localhost")),
        ("TRUSTED", ("999.1", "10.0.0.0/33", "10.0.0.1 10.0", "::1")),
        ("HEALTH", ("ping", "/ping;")),
        ("FORM_MB", ("0", "100000", "8m")),
        ("TLS", ("perhaps",)),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(tmp_path: Path, name: str, values: tuple[str, ...]) -> None:
    for value in values:
        said = refusal(tmp_path, **{name: value})
        assert said.startswith(f"{name} is ") and repr(value.split()[-1]) in said
    assert not list(tmp_path.iterdir())


def test_what_only_nginx_can_tell_is_refused_in_a_line_too(tmp_path: Path) -> None:
    if lacking := missing():
        pytest.skip(f"apt-get install nginx-light gettext-base: {' and '.join(lacking)} missing")
    for inside in ("0.0.0.0/0", "255.255.255.254/32", "10.0.0.0/8 127.0.0.1"):
        assert "192.0.2.1" in refusal(tmp_path, ADDRESS="192.0.2.1", PORT="65535", TRUSTED=inside)
    faulty = tmp_path / "tls.crt"
    faulty.write_text("no certificate")
    assert str(faulty) in refusal(tmp_path, TLS="on", PORT="65535", TLS_CERTIFICATE=str(faulty), TLS_KEY=str(faulty))


def test_compose_hands_all_on_but_what_is_the_containers() -> None:
    known = {*re.findall(r"\$\{([A-Z_]+):=", ENTRYPOINT.read_text("utf-8"))}
    services = yaml.safe_load((DOCKER / "docker-compose.yml").read_text("utf-8"))["services"]
    assert set(services["proxy"]["environment"]) == known - OF_THE_CONTAINER

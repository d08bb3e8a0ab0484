from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from detserve.errors import BadSpec
from detserve.places import CONFIG_DIR
from detserve.serve.config import Settings, write

OPEN = "0.0.0.0"


def properties(settings: Settings) -> dict[str, str]:
    return dict(line.split("=", 1) for line in write(settings).read_text("ascii").splitlines())


@pytest.fixture
def plain(tmp_path: Path) -> Settings:
    return Settings(model_store=tmp_path / "store", run_dir=tmp_path / "run")


def test_on_loopback_no_token_is_asked_for(plain: Settings) -> None:
    written = properties(plain)
    assert written["inference_address"] == "http://127.0.0.1:8080"
    assert written["disable_token_authorization"] == "true"
    assert written["max_request_size"] == "33554432"  # from the template
    assert written["install_py_dep_per_model"] == "false"
    assert written["metrics_config"] == str(CONFIG_DIR / "metrics.yaml")


def test_on_another_address_a_token_is_asked_for_and_management_stays(plain: Settings) -> None:
    written = properties(replace(plain, address=OPEN, grpc_port=7000))
    assert written["inference_address"] == "http://0.0.0.0:8080"
    assert (written["grpc_inference_address"], written["grpc_inference_port"]) == (OPEN, "7000")
    assert written["management_address"] == "http://127.0.0.1:8081"
    assert written["grpc_management_address"] == "127.0.0.1"
    assert written["metrics_address"] == "http://127.0.0.1:8082"
    assert written["disable_token_authorization"] == "false"


def test_nobody_else_can_read_the_keys_at_any_moment(plain: Settings) -> None:
    write(plain)
    assert not plain.key_file.exists()
    before = os.umask(0)
    try:
        write(replace(plain, address=OPEN))
    finally:
        os.umask(before)
    assert plain.key_file.stat().st_mode & 0o777 == 0o600


def test_the_metrics_may_be_asked_from_elsewhere_and_a_token_last_longer(plain: Settings) -> None:
    written = properties(replace(plain, metrics_address=OPEN, token_minutes=1440))
    assert (written["metrics_address"], written["inference_address"]) == (
        "http://0.0.0.0:8082",
        "http://127.0.0.1:8080",
    )
    assert (written["disable_token_authorization"], written["token_expiration_min"]) == ("true", "1440")


@pytest.mark.parametrize(
    ("address", "told", "tokens"),
    [
        ("127.0.0.1", None, False),
        ("127.8.8.8", None, False),
        ("192.168.1.5", None, True),
        (OPEN, None, True),
        (OPEN, False, False),
        ("127.0.0.1", True, True),
    ],
)
def test_the_token_rule(address: str, told: bool | None, tokens: bool, plain: Settings) -> None:
    assert replace(plain, address=address, token_auth=told).tokens is tokens


def test_the_store_may_have_any_name_and_no_url_is_allowed(tmp_path: Path) -> None:
    written = properties(Settings(model_store=tmp_path / "größe,a+b", run_dir=tmp_path / "run"))
    assert written["model_store"].endswith(r"gr\u00f6\u00dfe,a+b")
    assert written["allowed_urls"] == "(?!)"


def test_torchserve_knows_every_key(plain: Settings) -> None:
    package = find_spec("ts")
    if package is None or package.origin is None:
        pytest.skip("TorchServe is not installed")
    with zipfile.ZipFile(Path(package.origin).parent / "frontend" / "model-server.jar") as jar:
        known = jar.read("org/pytorch/serve/util/ConfigManager.class")
    # `vmargs` is for Java's command line, which TorchServe's own script reads it for, too.
    assert [key for key in properties(plain) if key.encode() not in known] == ["vmargs"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"address": "localhost"}, "'localhost' is no IPv4 address"),
        ({"address": "::1"}, "no IPv4 address"),
        ({"metrics_port": 8080}, "--port and --metrics-port are both 8080"),
        ({"metrics_address": "metrics.example"}, "'metrics.example' is no IPv4 address"),
        ({"token_minutes": 0}, "--token-minutes must be at least 1, not 0"),
        ({"grpc_port": 0}, "--grpc-port must lie between 1 and 65534"),
        ({"port": 65535}, "--port must lie"),
        ({"run_dir": Path("/" + "long" * 30)}, "too long for the workers' sockets"),
        ({"config_dir": Path("/nowhere")}, "cannot read /nowhere/config.properties"),
    ],
)
def test_what_cannot_be_served_on_is_refused(changes: dict[str, object], message: str, plain: Settings) -> None:
    with pytest.raises(BadSpec, match=message):
        write(replace(plain, **changes))  # type: ignore[arg-type]


def test_folders_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(model_store=Path("store"), run_dir=Path("run")).logs == tmp_path / "run" / "logs"


def test_no_two_metrics_share_a_list_of_dimensions() -> None:
    metrics = yaml.safe_load((CONFIG_DIR / "metrics.yaml").read_text("utf-8"))["model_metrics"]
    entries = [entry for kind in metrics.values() for entry in kind]
    assert len({id(entry["dimensions"]) for entry in entries}) == len({entry["name"] for entry in entries}) == 18

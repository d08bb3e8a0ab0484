"""The files that containers are made of, as far as they can be checked where there is no container engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.harness.server import DOCKER, ROOT

DOCKERFILES = ("Dockerfile", "Dockerfile.gpu")
SCRIPTS = ("test_image.sh", "proxy/entrypoint.sh", "proxy/healthcheck.sh")
WITH_BULK = (*DOCKERFILES, "Dockerfile.bulk")
COMPOSE = DOCKER / "docker-compose.yml"
YAML_RULES = "{extends: default, rules: {document-start: disable, line-length: {max: 140}}}"


def run_tool(name: str, *arguments: str | Path) -> None:
    """Run a command of requirements/dev.txt, which has to find nothing."""
    done = subprocess.run(
        [Path(sys.executable).with_name(name), *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def services() -> dict[str, dict]:
    return yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]


@pytest.mark.parametrize("name", [*WITH_BULK, "proxy/Dockerfile"])
def test_hadolint_finds_nothing(name: str) -> None:
    run_tool("hadolint", DOCKER / name)


def test_yamllint_finds_nothing() -> None:
    run_tool("yamllint", "--strict", "-d", YAML_RULES, *DOCKER.rglob("*.yml"))


def test_the_compose_file_fits_its_schema() -> None:
    run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)


def test_shellcheck_finds_nothing() -> None:
    run_tool("shellcheck", *(DOCKER / name for name in SCRIPTS))


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_is_not_root_and_hands_signals_on(name: str) -> None:
    text = (DOCKER / name).read_text("utf-8")
    final = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER 10001:0$", final, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["tini", "--", "python", "/app/docker/entrypoint.py"\]$', final, re.MULTILINE)
    assert re.search(r'^HEALTHCHECK .*\\\n    CMD \["python", "/app/docker/healthcheck.py"\]$', final, re.MULTILINE)
    assert re.search(r"^ARG BASE_IMAGE=\S+:[\w.-]+$", text, re.MULTILINE), "the base is of a fixed tag"


@pytest.mark.parametrize("name", WITH_BULK)
def test_what_is_copied_exists_and_is_sent_to_the_builder(name: str) -> None:
    sent = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", (DOCKER / name).read_text("utf-8"), re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert f"!{source}" in sent or f"!{source}/*.py" in sent, source


def test_the_cpu_build_of_torch_is_of_the_pinned_version() -> None:
    (pinned,) = re.findall(r"^torch==(\S+)$", (ROOT / "requirements" / "torch.txt").read_text("utf-8"), re.MULTILINE)
    assert f" torch=={pinned}+cpu " in (DOCKER / "Dockerfile").read_text("utf-8")
    assert f"torch=={pinned} " in (DOCKER / "Dockerfile.gpu").read_text("utf-8")


@pytest.mark.parametrize("name", services())
def test_a_service_can_do_no_more_than_it_has_to(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"healthcheck", "mem_limit", "pids_limit", "restart"} <= set(service)
    assert "privileged" not in service
    assert all(re.match(r"(127\.0\.0\.1|\$\{(PROXY_)?ADDRESS:-127\.0\.0\.1\}):", port) for port in service["ports"])
    assert not any(port.endswith((":8081", ":7071", ":8082")) for port in service["ports"])
    assert "build" in service or re.search(r":v?\d+\.\d+\.\d+$", service["image"]), "an image of a fixed version"


def test_what_is_mounted_exists() -> None:
    mounted = [volume.partition(":")[0] for service in services().values() for volume in service["volumes"]]
    files = [source for source in mounted if source.startswith("./")]
    assert len(files) == 4, "those of Prometheus and Grafana; the certificate of the proxy is the user's"
    assert [source for source in files if not (DOCKER / source).exists()] == []


def test_the_document_names_every_variable() -> None:
    document = "".join((ROOT / "docs" / name).read_text("utf-8") for name in ("docker.md", "proxy.md"))
    files = ("entrypoint.py", "docker-compose.yml", "proxy/entrypoint.sh")
    code = "".join((DOCKER / name).read_text("utf-8") for name in files)
    variables = {*re.findall(r'"([A-Z][A-Z_]+)"', code), *re.findall(r"\$\{([A-Z_]+):", code)}
    assert {"MODELS", "TOKEN_AUTH", "ENGINES", "TOLERATE_BROKEN", "GRAFANA_PORT"} <= variables
    assert [name for name in sorted(variables) if f"`{name}`" not in document] == []

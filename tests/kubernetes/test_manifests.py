"""The manifests: valid by Kubernetes' own schemas, and consistent with each other, the image and the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker" / "kubernetes"
VERSIONS = ("1.30", kubernetes_validate.latest_version())
OBJECTS = ("namespace", "deployment", "service", "autoscaling", "disruption", "network")
PRIVATE_PORTS = {8081, 7071}


def load(name: str) -> dict[str, Any]:
    (document,) = yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text("utf-8"))
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module")
def deployment() -> dict[str, Any]:
    return load("deployment")


@pytest.fixture(scope="module")
def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    return deployment["spec"]["template"]


@pytest.fixture(scope="module")
def runtime() -> dict[str, Any]:
    return load("kserve/runtime")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", OBJECTS)
def test_each_object_fits_the_schema_of_its_kind(name: str, version: str) -> None:
    kubernetes_validate.validate(load(name), version, strict=True)


def test_a_misspelt_field_would_be_seen(deployment: dict[str, Any]) -> None:
    spec = deployment["spec"] | {"minReadySecond": 3}
    with pytest.raises(kubernetes_validate.ValidationError, match="minReadySecond"):
        kubernetes_validate.validate(deployment | {"spec": spec}, VERSIONS[0], strict=True)


def test_kustomization_takes_every_object_in() -> None:
    kustomization = load("kustomization")
    assert kustomization["resources"] == [f"{name}.yaml" for name in OBJECTS]
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {*OBJECTS, "kustomization", "prometheus-adapter"}
    assert kustomization["namespace"] == load("namespace")["metadata"]["name"]
    assert (
        load("deployment")["spec"]["template"]["spec"]["containers"][0]["image"] == kustomization["images"][0]["name"]
    )


def test_everything_speaks_of_the_same_pods(deployment: dict[str, Any], pod: dict[str, Any]) -> None:
    labels = pod["metadata"]["labels"].items()
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        load("service")["spec"]["selector"],
        load("disruption")["spec"]["selector"]["matchLabels"],
        load("network")["spec"]["podSelector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in pod["spec"]["topologySpreadConstraints"]),
    ):
        assert selector and selector.items() <= labels
    target = load("autoscaling")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == (deployment["kind"], deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"], "apply would undo what the autoscaler did"


def test_management_is_named_nowhere_and_metrics_are_for_monitoring(pod: dict[str, Any]) -> None:
    ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
    assert set(ports.values()) == {8080, 7070, 8082}
    served = {port["targetPort"] for port in load("service")["spec"]["ports"]}
    assert served == {"http", "grpc"}, "metrics and management are no business of a client"
    policy = load("network")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"] and policy["egress"] == []
    asking, monitoring = policy["ingress"]
    assert {port["port"] for port in asking["ports"]} == {ports["http"], ports["grpc"]}
    assert {port["port"] for port in monitoring["ports"]} == {ports["metrics"]}
    assert all(rule["from"] for rule in policy["ingress"]), "an empty `from` lets everybody in"
    annotations = pod["metadata"]["annotations"]
    assert int(annotations["prometheus.io/port"]) == ports["metrics"]
    for path in FOLDER.rglob("*.yaml"):
        found = {int(number) for number in re.findall(r"ort: (\d+)", path.read_text("utf-8"))}
        assert not found & PRIVATE_PORTS, path


def containers(pod: dict[str, Any], runtime: dict[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The containers, each with what its pod adds to its security context."""
    yield pod["spec"]["containers"][0], pod["spec"]["securityContext"]
    yield runtime["spec"]["containers"][0], {}


def test_pods_hold_to_the_restricted_standard(pod: dict[str, Any], runtime: dict[str, Any]) -> None:
    for container, shared in containers(pod, runtime):
        context = {**shared, **container["securityContext"]}
        assert (context["runAsNonRoot"], context["runAsUser"]) == (True, 10001)
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "memory" in container["resources"]["limits"] and set(container["resources"]["requests"]) == {
            "cpu",
            "memory",
        }
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert load("namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_writable_place_is_a_volume_with_a_limit(pod: dict[str, Any], runtime: dict[str, Any]) -> None:
    for spec in (pod["spec"], runtime["spec"]):
        volumes = {volume["name"]: volume["emptyDir"]["sizeLimit"] for volume in spec["volumes"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
        assert volumes.keys() == mounts.keys()
        assert "/tmp" in mounts.values()


def test_the_probes_ask_for_ready_workers(pod: dict[str, Any]) -> None:
    container = pod["spec"]["containers"][0]
    probes = [container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]
    (command,) = {tuple(probe["exec"]["command"]) for probe in probes}
    assert Path(command[-1]).name == "healthcheck.py"
    assert all(probe["timeoutSeconds"] <= 10 for probe in probes)
    seconds = probes[2]["periodSeconds"] * probes[2]["failureThreshold"]
    assert seconds >= 300, "TorchServe itself starts a dead worker anew for five minutes"


def test_a_pod_leaves_the_service_before_it_ends(pod: dict[str, Any], runtime: dict[str, Any]) -> None:
    grace = load("kserve/inference-service")["spec"]["predictor"]["terminationGracePeriodSeconds"]
    for spec, seconds in ((pod["spec"], pod["spec"]["terminationGracePeriodSeconds"]), (runtime["spec"], grace)):
        program, pause = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert program == "sleep"
        variables = {each["name"]: each.get("value") for each in spec["containers"][0]["env"]}
        ending = int(variables.get("STOP_TIMEOUT", "30"))  # KServe's is TorchServe without serve.py
        assert int(pause) + ending <= seconds


def test_the_autoscaler_knows_the_metric_that_the_adapter_makes() -> None:
    (rule,) = load("prometheus-adapter")["rules"]["custom"]
    pods = next(metric["pods"] for metric in load("autoscaling")["spec"]["metrics"] if metric["type"] == "Pods")
    assert pods["metric"]["name"] == rule["name"]["as"]
    series = rule["seriesQuery"].partition("{")[0]
    declared = yaml.safe_load((ROOT / "config" / "metrics.yaml").read_text("utf-8"))["ts_metrics"]["counter"]
    assert series in [metric["name"] for metric in declared], "TorchServe drops what metrics.yaml does not declare"
    assert set(rule["resources"]["overrides"]) == {"namespace", "pod"}


def test_the_models_and_paths_are_those_of_the_image(pod: dict[str, Any], runtime: dict[str, Any]) -> None:
    environment = {entry["name"]: entry["value"] for entry in pod["spec"]["containers"][0]["env"]}
    for model in environment["MODELS"].split():
        name, workers = model.split("=")
        assert (ROOT / "config" / f"{name}.yaml").is_file() and int(workers) > 0
    text = (ROOT / "docker" / "Dockerfile").read_text("utf-8")
    for manifest in (FOLDER / "deployment.yaml", FOLDER / "kserve/runtime.yaml"):
        for path in re.findall(r"(?<![\w.])/(?:app|opt)/[\w./]+", manifest.read_text("utf-8")):
            inside = path.removeprefix("/app/")
            assert path.startswith("/opt/venv/bin/") or inside == "run" or (ROOT / inside).exists(), path
    assert "WORKDIR /app" in text and "/opt/venv" in text and "VOLUME /app/run" in text and "tini" in text
    entrypoint = (ROOT / "docker" / "entrypoint.py").read_text("utf-8")
    assert all(f'"{name}"' in entrypoint for name in environment)

"""KubeRay's RayJob. Its schema is in no package that goes with detserve's: its fields are listed here, and the pods
that it holds are checked by Kubernetes' schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from detserve.bulk.command import parse

ROOT = Path(__file__).parents[2]
VERSIONS = ("1.30", kubernetes_validate.latest_version())
JOB_FIELDS = {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"}
CLUSTER_FIELDS = {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
GROUP_FIELDS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    (document,) = yaml.safe_load_all((ROOT / "docker/kubernetes/ray/bulk.yaml").read_text("utf-8"))
    assert (document["apiVersion"], document["kind"]) == ("ray.io/v1", "RayJob")
    return document["spec"]


def groups(job: dict[str, Any]) -> list[dict[str, Any]]:
    return [job["rayClusterSpec"]["headGroupSpec"], *job["rayClusterSpec"]["workerGroupSpecs"]]


def test_its_fields_are_those_of_a_ray_job(job: dict[str, Any]) -> None:
    cluster = job["rayClusterSpec"]
    assert set(job) == JOB_FIELDS and set(cluster) == CLUSTER_FIELDS
    assert set(cluster["headGroupSpec"]) == {"rayStartParams", "template"}
    assert all(set(group) == GROUP_FIELDS for group in cluster["workerGroupSpecs"])
    assert all(isinstance(value, str) for group in groups(job) for value in group["rayStartParams"].values())
    pinned = (ROOT / "requirements/ray.txt").read_text("utf-8")
    assert f"ray[data]=={cluster['rayVersion']}\n" in pinned


@pytest.mark.parametrize("version", VERSIONS)
def test_its_pods_fit_kubernetes_schema_and_are_restricted(job: dict[str, Any], version: str) -> None:
    for group in groups(job):
        spec = group["template"]["spec"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": spec}
        kubernetes_validate.validate(pod, version, strict=True)
        (container,) = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] and spec["automountServiceAccountToken"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["image"] == "detserve-bulk" and "memory" in container["resources"]["limits"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {each["name"] for each in spec["volumes"]}


def test_its_command_is_one_that_bulk_takes_and_writes_where_it_may(job: dict[str, Any]) -> None:
    python, script, *arguments = job["entrypoint"].split()
    assert (python, script) == ("/opt/venv/bin/python", "/app/bulk.py") and (ROOT / "bulk.py").is_file()
    options = parse(arguments)
    assert options.ray == "auto" and (ROOT / "config" / f"{options.model}.yaml").is_file()
    for group in groups(job):
        (container,) = group["template"]["spec"]["containers"]
        mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
        assert mounts == {options.pictures[0]: True, str(Path(options.out).parent): False}, "all nodes see both"

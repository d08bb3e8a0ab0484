"""KServe's objects. Their schemas are in no package that goes with detserve's: their fields are listed here, and what
they hold of Kubernetes' own is checked by Kubernetes' schemas, as a pod."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "docker" / "kubernetes" / "kserve"
VERSIONS = ("1.30", kubernetes_validate.latest_version())
RUNTIME_FIELDS = {"supportedModelFormats", "protocolVersions", "annotations", "containers", "volumes"}
FORMAT_FIELDS = {"name", "version", "autoSelect"}
PREDICTOR_FIELDS = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "model"}
MODEL_FIELDS = {"runtime", "modelFormat", "protocolVersion", "storageUri"}


def load(name: str) -> dict[str, Any]:
    (document,) = yaml.safe_load_all((FOLDER / name).read_text("utf-8"))
    assert isinstance(document, dict)
    return document


def as_pod(spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "detserve"}, "spec": spec}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_runtime_holds_a_pod_and_what_kserve_adds(version: str) -> None:
    runtime = load("runtime.yaml")
    assert (runtime["apiVersion"], runtime["kind"]) == ("serving.kserve.io/v1alpha1", "ClusterServingRuntime")
    spec = runtime["spec"]
    assert set(spec) == RUNTIME_FIELDS
    for each in spec["supportedModelFormats"]:
        assert set(each) == FORMAT_FIELDS and isinstance(each["version"], str)
    assert set(spec["protocolVersions"]) == {"v1", "v2"}
    assert [container["name"] for container in spec["containers"]] == ["kserve-container"]
    pod = {key: spec[key] for key in ("containers", "volumes")}
    kubernetes_validate.validate(as_pod(pod), version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_service_names_the_runtime_and_a_format_of_its(version: str) -> None:
    service, runtime = load("inference-service.yaml"), load("runtime.yaml")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert set(service["spec"]) == {"predictor"}
    predictor = service["spec"]["predictor"]
    model = predictor["model"]
    assert set(model) == MODEL_FIELDS
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in [each["name"] for each in runtime["spec"]["supportedModelFormats"]]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert predictor["minReplicas"] <= predictor["maxReplicas"]
    rest = {key: value for key, value in predictor.items() if key not in PREDICTOR_FIELDS}
    kubernetes_validate.validate(as_pod(rest | {"containers": [{"name": "x"}]}), version, strict=True)

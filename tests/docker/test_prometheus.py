"""The alerts of docker/prometheus, run by Prometheus' own tool; what is provisioned for Grafana."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.docker.promql import ALERTS, DASHBOARD, DOCKER, alerts, dashboard, metrics_of


def promtool(*arguments: str) -> str:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed; Debian has it in the package prometheus")
    ended = subprocess.run([tool, *arguments], cwd=ALERTS.parent, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_configuration_and_its_rules_are_valid() -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "config", "prometheus.yml")


def test_the_alerts_rise_when_they_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_every_alert_is_tested_to_rise_and_to_rest() -> None:
    cases = [
        case
        for test in yaml.safe_load((ALERTS.parent / "alerts_test.yml").read_text("utf-8"))["tests"]
        for case in test["alert_rule_test"]
    ]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == set(alerts())
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == set(alerts())


def test_every_metric_is_documented() -> None:
    text = (DOCKER.parent / "docs" / "metrics.md").read_text("utf-8")
    named = set().union(*map(metrics_of, [*alerts().values(), *dashboard().values()])) - {"up"}
    assert len(named) > 10
    missing = {name for name in named if not re.search(rf"`{re.sub('_(bucket|sum|count)$', '', name)}`", text)}
    assert missing == set()


def test_names_of_metrics_are_found_in_expressions() -> None:
    expression = 'sum by (a, b) (rate(X_total{c="d"}[5m])) / on (a) Y > 1.5e6 unless min_over_time(Z[1h] offset 6h) > 2'
    assert metrics_of(expression) == {"X_total", "Y", "Z"}


def test_grafana_finds_its_source_and_its_dashboard() -> None:
    def provisioned(path: str) -> dict:
        return yaml.safe_load((DOCKER / "grafana" / "provisioning" / path).read_text("utf-8"))

    (source,) = provisioned("datasources/prometheus.yml")["datasources"]
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert len({panel["id"] for panel in panels}) == len(panels)
    (provider,) = provisioned("dashboards/detserve.yml")["providers"]
    assert Path(provider["options"]["path"]).is_absolute()

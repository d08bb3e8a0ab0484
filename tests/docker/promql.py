"""Which metrics the alerts and the dashboard ask for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

DOCKER = Path(__file__).parents[2] / "docker"
ALERTS = DOCKER / "prometheus" / "alerts.yml"
DASHBOARD = DOCKER / "grafana" / "dashboards" / "detserve.json"
OF_PROMETHEUS = {"up"}
"""What Prometheus makes itself."""
_NO_METRICS = re.compile(
    r"""\{[^}]*\} | \[[^]]*\] | "[^"]*"             # labels, ranges, texts
      | \b(\w+\s+by|on)\s*\([^)]*\)                 # lists of labels
      | \b(unless|offset\s+\w+)\b
      | \b\w+\s*(?=\()                               # functions
      | \b\d[\d.]*\w*""",
    re.VERBOSE,
)


def metrics_of(expression: str) -> set[str]:
    """The names of the metrics in an expression of PromQL."""
    return set(re.findall(r"[A-Za-z_]\w*", _NO_METRICS.sub(" ", expression)))


def alerts() -> dict[str, str]:
    """Name → expression."""
    (group,) = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def dashboard() -> dict[str, str]:
    """Panel and target → expression; and what the choices at the top are made of."""
    found = json.loads(DASHBOARD.read_text("utf-8"))
    targets = {f"{panel['title']} {t['refId']}": t["expr"] for panel in found["panels"] for t in panel["targets"]}
    choices = {entry["name"]: entry["query"]["query"] for entry in found["templating"]["list"]}
    return targets | {name: re.sub(r"label_values\((\w+), \w+\)", r"\1", query) for name, query in choices.items()}

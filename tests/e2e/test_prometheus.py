"""What the real server shows at its metrics port, against what alerts and dashboard ask for."""

from __future__ import annotations

import re
import time

import psutil
import pytest
import requests

from tests.docker.promql import OF_PROMETHEUS, alerts, dashboard, metrics_of
from tests.harness.server import Server


@pytest.fixture(scope="module")
def shown(server: Server, astronaut: bytes) -> str:
    """The metrics after an answer, a refusal, and a request to a model without workers."""
    assert server.predict("fd1", astronaut).status_code == 200
    assert server.predict("fd1", b"no picture").status_code == 400
    query = "url=fd1.mar&model_name=idle&initial_workers=0"
    assert requests.post(f"{server.management}/models?{query}", timeout=30).status_code == 200
    assert server.predict("idle", astronaut).status_code == 503
    assert requests.delete(f"{server.management}/models/idle", timeout=30).status_code == 200
    deadline = time.monotonic() + 10
    while "RejectedPictures{" not in server.metrics() or "Detections_count{" not in server.metrics():
        assert time.monotonic() < deadline, server.metrics()
        time.sleep(0.2)
    time.sleep(0.5)  # they are handed over one after the other
    return server.metrics()


def test_every_metric_of_the_alerts_and_of_the_dashboard_is_shown(shown: str) -> None:
    names = {line.partition("{")[0] for line in shown.splitlines() if not line.startswith("#")}
    for where, expression in (alerts() | dashboard()).items():
        asked = metrics_of(expression)
        assert asked, where
        assert asked <= names | OF_PROMETHEUS, where


def test_every_label_that_they_use_is_there(shown: str) -> None:
    for expression in (alerts() | dashboard()).values():
        for metric, labels in re.findall(r"(\w+)\{([^}]*)\}", expression):
            for label in re.findall(r"(\w+)=~", labels):
                # Prometheus itself adds the instance.
                assert label == "instance" or re.search(rf"^{metric}{{.*\b{label}=", shown, re.MULTILINE), expression


def value(shown: str, name: str, **labels: str) -> float:
    wanted = [f'{key}="{text}"' for key, text in labels.items()]
    rows = re.findall(rf"^{name}{{(.*?)}} ([\d.eE+-]+)$", shown, re.MULTILINE)
    return sum(float(number) for found, number in rows if all(each in found for each in wanted))


def test_memory_is_that_of_the_process(server: Server, shown: str) -> None:
    (pid,) = server.pids("fd1")
    resident = psutil.Process(pid).memory_info().rss
    assert value(shown, "WorkerMemory", ModelName="fd1") == pytest.approx(resident, rel=0.2)


@pytest.mark.slow
def test_a_worker_that_died_is_counted_when_it_starts_anew(server: Server, shown: str) -> None:
    query = "url=fd1.mar&model_name=mortal&initial_workers=1&synchronous=true"
    assert requests.post(f"{server.management}/models?{query}", timeout=60).status_code == 200
    try:
        wait_for(server, starts=1)
        (pid,) = server.pids("mortal")
        psutil.Process(pid).kill()
        wait_for(server, starts=2)
        labels = re.findall(r'^WorkerMemory{.*ModelName="mortal".*?}', server.metrics(), re.MULTILINE)
        assert len(labels) == 1, "a worker keeps its number when it is started anew"
    finally:
        requests.delete(f"{server.management}/models/mortal", timeout=30)


def wait_for(server: Server, starts: int) -> None:
    deadline = time.monotonic() + 60
    while (found := value(server.metrics(), "WorkerStarts", ModelName="mortal")) != starts:
        assert time.monotonic() < deadline and found < starts, found
        time.sleep(0.3)

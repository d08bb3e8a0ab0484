"""The histograms that a worker keeps, against what Prometheus would make of the same values."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from detserve.core.detections import Detections
from detserve.errors import BadPicture
from detserve.worker import metrics
from detserve.worker.pipeline import Result, Timings

pytest.importorskip("ts", reason="TorchServe is not installed")


class Counters:
    """TorchServe's cache of metrics as far as a worker uses it: sums by name and labels."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = defaultdict(float)
        self.lines = 0

    def add_metric_to_cache(self, name: str, unit: str, dimensions: list[str], kind: Any) -> SimpleNamespace:
        def add_or_update(value: float, labels: list[str]) -> None:
            assert len(labels) == len(dimensions)
            assert kind.value == ("gauge" if name == metrics.MEMORY else "counter") and value > 0
            self.values[name, *labels[2:]] += value
            self.lines += 1

        return SimpleNamespace(add_or_update=add_or_update)


@pytest.fixture
def counters(monkeypatch: pytest.MonkeyPatch) -> Counters:
    monkeypatch.setattr(metrics, "INTERVAL", 0.05)
    return Counters()


def results(times: list[float]) -> list[Result]:
    found = Detections(np.zeros((3, 4), np.float32), np.ones(3, np.float32))
    return [Result(found, (1, 1), Timings(decode=ms, infer=ms, post=ms)) for ms in times]


def wait_until(counters: Counters, name: str, count: float) -> None:
    deadline = time.monotonic() + 5
    while counters.values[name,] < count:
        assert time.monotonic() < deadline, dict(counters.values)
        time.sleep(0.01)


def test_buckets_count_all_values_up_to_their_bound(counters: Counters) -> None:
    worker = metrics.WorkerMetrics(SimpleNamespace(model_name="fd1", metrics=counters))
    times = [0.2, 1.0, 1.1, 4.9, 9999.0, 20000.0]
    for ms in times:
        worker.observe(results([ms]))
    wait_until(counters, "DecodeTime_count", len(times))
    for bound in metrics.MILLISECONDS:
        assert counters.values["DecodeTime_bucket", str(bound)] == sum(ms <= bound for ms in times), bound
    assert counters.values["DecodeTime_bucket", "+Inf"] == len(times)
    assert counters.values["DecodeTime_sum",] == pytest.approx(sum(times))


def test_a_batch_counts_once_and_its_pictures_each(counters: Counters) -> None:
    worker = metrics.WorkerMetrics(SimpleNamespace(model_name="fd1", metrics=counters))
    worker.observe([*results([3.0, 5.0]), Result(BadPicture("no"))])
    wait_until(counters, "BatchSize_count", 1)
    assert counters.values["BatchSize_sum",] == 3
    assert counters.values["DecodeTime_count",] == 2
    assert counters.values["InferenceTime_count",] == 1
    assert counters.values["Detections_sum",] == 6
    assert counters.values["RejectedPictures", "bad_picture"] == 1


def test_many_batches_make_few_lines(counters: Counters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "INTERVAL", 0.3)
    worker = metrics.WorkerMetrics(SimpleNamespace(model_name="fd1", metrics=counters))
    for _ in range(500):
        worker.observe(results([3.0]))
    wait_until(counters, "BatchSize_count", 500)
    assert counters.lines < 3 * sum(len(bounds) + 3 for _, bounds in metrics.HISTOGRAMS.values())


def test_a_worker_tells_of_its_start_and_its_memory_unasked(counters: Counters) -> None:
    metrics.WorkerMetrics(SimpleNamespace(model_name="fd1", metrics=counters))
    wait_until(counters, metrics.STARTS, 1)
    deadline = time.monotonic() + 5
    while not counters.values[metrics.MEMORY, ""]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert counters.values[metrics.MEMORY, ""] == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert counters.values[metrics.STARTS,] == 1


def test_a_worker_is_known_by_the_number_of_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["worker.py", "--sock-name", "/run/tmp/.ts.sock.9002", "--metrics-config", "x"])
    assert metrics._worker() == "9002"

"""Metrics: what a worker measures, gathered for a second at a time and handed to TorchServe as counters.

TorchServe takes a metric as a printed line, which its Java parses: six lines for each request cost a tenth of the
request itself. Its own histograms have fixed buckets, in seconds, from 5 ms to 10 s. So the histograms are kept here,
in buckets that fit, and their buckets, sums and counts are handed over as counters. To Prometheus these look like any
histogram, and histogram_quantile() works.
"""

from __future__ import annotations

import logging
import sys
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from detserve.errors import RequestError

if TYPE_CHECKING:
    from detserve.worker.pipeline import Result

MILLISECONDS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 300, 500, 1000, 2000, 5000, 10000)
COUNTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
HISTOGRAMS = {
    "DecodeTime": ("ms", MILLISECONDS),
    "InferenceTime": ("ms", MILLISECONDS),
    "PostprocessTime": ("ms", MILLISECONDS),
    "BatchSize": ("count", COUNTS),
    "Detections": ("count", COUNTS),
}
"""Name → unit and upper bounds of the buckets."""
REJECTED = "RejectedPictures"
STARTS = "WorkerStarts"
"""Workers that were loaded. Beyond the number of workers that a model has, each is a restart."""
MEMORY = "WorkerMemory"
"""Resident memory of each worker, by the number that TorchServe gives it and keeps when it starts it anew."""
INTERVAL = 1.0
"""Seconds for which values are gathered before they are handed over."""


class WorkerMetrics:
    """The metrics of one worker; values may be observed in one thread while another hands them over."""

    def __init__(self, context: Any) -> None:
        import psutil
        from ts.metrics.metric_type_enum import MetricTypes

        self._process = psutil.Process()
        self._model = context.model_name
        self._logger = logging.getLogger("ts.metrics.caching_metric")
        self._logger.setLevel(logging.WARNING)
        self._lock = threading.Lock()
        self._gathered: Counter[tuple[str, str | None]] = Counter({(STARTS, None): 1})
        self._timer: threading.Timer | None = None

        def metric(kind: Any, name: str, unit: str, *dimensions: str) -> Any:
            return context.metrics.add_metric_to_cache(name, unit, ["ModelName", "Level", *dimensions], kind)

        counter = partial(metric, MetricTypes.COUNTER)
        self._memory = metric(MetricTypes.GAUGE, MEMORY, "bytes", "Worker")
        self._counters = {REJECTED: counter(REJECTED, "count", "Reason"), STARTS: counter(STARTS, "count")}
        for name, (unit, _) in HISTOGRAMS.items():
            self._counters[f"{name}_bucket"] = counter(f"{name}_bucket", unit, "le")
            self._counters[f"{name}_sum"] = counter(f"{name}_sum", unit)
            self._counters[f"{name}_count"] = counter(f"{name}_count", unit)
        with self._lock:
            self._hand_over_soon()

    def observe(self, results: Sequence[Result]) -> None:
        """Count the results of one batch."""
        with self._lock:
            self._observe("BatchSize", len(results))
            answered = [result for result in results if not isinstance(result.outcome, RequestError)]
            for result in results:
                if isinstance(result.outcome, RequestError):
                    self._gathered[REJECTED, result.outcome.type] += 1
                else:
                    self._observe("DecodeTime", result.timings.decode)
                    self._observe("Detections", len(result.outcome))
            if answered:
                self._observe("InferenceTime", answered[0].timings.infer)
                self._observe("PostprocessTime", answered[0].timings.post)
            self._hand_over_soon()

    def _hand_over_soon(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(INTERVAL, self._hand_over)
            self._timer.daemon = True
            self._timer.start()

    def _observe(self, name: str, value: float) -> None:
        bounds = HISTOGRAMS[name][1]
        at = bisect_left(bounds, value)
        self._gathered[f"{name}_bucket", str(bounds[at]) if at < len(bounds) else "+Inf"] += 1
        self._gathered[f"{name}_sum", None] += value  # type: ignore[assignment]
        self._gathered[f"{name}_count", None] += 1

    def _hand_over(self) -> None:
        with self._lock:
            gathered, self._gathered, self._timer = self._gathered, Counter(), None
        # The buckets of Prometheus count all values up to their bound.
        for name, (_, bounds) in HISTOGRAMS.items():
            below = 0
            for bound in [*map(str, bounds), "+Inf"]:
                below += gathered.pop((f"{name}_bucket", bound), 0)
                gathered[f"{name}_bucket", bound] = below
        # TorchServe's worker prints metrics of its own with every batch. Only those printed here shall pass.
        self._logger.setLevel(logging.INFO)
        for (name, label), value in gathered.items():
            if value:
                labels = [self._model, "Model", *([label] if label is not None else [])]
                self._counters[name].add_or_update(round(value, 3), labels)
        self._memory.add_or_update(self._process.memory_info().rss, [self._model, "Model", _worker()])
        self._logger.setLevel(logging.WARNING)


def _worker() -> str:
    """The worker's number, 9000 for instance, which is how its socket's name ends; "" where it has no such socket."""
    return next((word.rpartition(".")[2] for word in sys.argv if ".ts.sock." in word), "")

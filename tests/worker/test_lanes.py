"""A reader on two cores: what is read stays the same, and only an idle core is taken."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from detserve import engines, models
from detserve.core.detections import Pixels
from detserve.core.machine import cores
from detserve.engines import sources
from detserve.engines.base import Device, Engine, EnginePlan
from detserve.pack.weights import locate
from detserve.worker import lanes
from detserve.worker.lanes import Lanes
from detserve.worker.reader import Reader

TWO_CORES = pytest.mark.skipif(cores() < 2, reason="a second lane wants a second core")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """PP-OCR's recogniser on OpenVINO."""
    folder = tmp_path_factory.mktemp("rec")
    spec = models.find("ppocrv6-small-rec")
    weights = locate(spec.weights.origin)
    spec = spec.with_file_metadata(weights)
    adapter, plan = engines.find("openvino"), EnginePlan(precision="auto", max_batch=1)
    adapter.build(sources.of(spec, weights), plan, folder)
    return adapter(folder, spec, plan, Device())


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which a core is always free."""
    monkeypatch.setattr(lanes, "_waited", lambda: 0.0)


def lines() -> list[Pixels]:
    """Twelve drawn lines of twelve lengths."""
    drawn = []
    for i in range(1, 13):
        picture = Image.new("RGB", (40 + 40 * i, 48), "white")
        ImageDraw.Draw(picture).text((20, 8), "".join(f"{i:<3}" for _ in range(i)), "black", ImageFont.load_default(28))
        drawn.append(np.asarray(picture))
    return drawn


@TWO_CORES
def test_two_lanes_read_what_one_reads(engine: Engine, idle: None, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(engine)
    callers: set[int] = set()

    def watched(infer: Callable[[Pixels], list[np.ndarray]]) -> Callable[[Pixels], list[np.ndarray]]:
        return lambda batch: callers.add(threading.get_ident()) or infer(batch)

    assert reader.lanes.twin is not None
    for each in (engine, reader.lanes.twin):
        monkeypatch.setattr(each, "infer", watched(each.infer))
    found = []
    for used in (2, 1):
        callers.clear()
        found.append([(read.line.text, read.line.confidence, read.steps) for read in reader.read(lines())])
        assert len(callers) == used
        reader.lanes.twin = None
    assert found[0] == found[1]
    assert "12" in found[0][-1][0]


@TWO_CORES
def test_a_second_lane_that_waits_for_its_core_rests(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_waited", time.monotonic)  # all of its time
    lane = Lanes(engine)

    def work(each: Engine, _: int) -> Engine:
        time.sleep(0.01)
        return each

    assert [each is engine for each in lane(work, range(6))].count(False) == 1
    assert all(each is engine for each in lane(work, range(6)))
    monkeypatch.setattr(lanes, "_waited", lambda: 0.0)
    lane._rests_until = time.monotonic()
    assert [each is engine for each in lane(work, range(6))].count(False) >= 2


@TWO_CORES
def test_results_come_in_order_and_errors_are_raised_when_all_is_still(engine: Engine, idle: None) -> None:
    lane = Lanes(engine)
    assert lane(lambda _, job: job * job, range(100)) == [job * job for job in range(100)]
    under_way, gate = [], threading.Event()

    def fails(each: Engine, job: int) -> None:
        under_way.append(job)
        if each is engine:
            gate.wait(10)
        else:
            gate.set()
            raise ArithmeticError(f"job {job}")
        under_way.remove(job)

    with pytest.raises(ArithmeticError):
        lane(fails, range(2))
    assert len(under_way) == 1, "the other job had not ended"
    assert lane(lambda _, job: -job, range(3)) == [0, -1, -2]


@pytest.mark.timed
@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="this system does not tell")
def test_a_thread_that_shares_its_core_has_waited() -> None:
    """Two threads on one core: each has it half of the time."""

    def waited() -> float:
        os.sched_setaffinity(0, {core})
        start = lanes._waited()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 300_000)  # leaves Python's lock alone
        return lanes._waited() - start

    core = min(os.sched_getaffinity(0))
    with ThreadPoolExecutor(2) as threads:
        assert all(each.result() > 0.01 for each in [threads.submit(waited) for _ in range(2)])

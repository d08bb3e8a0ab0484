"""A reader on two cores: what is read stays the same, and only an idle core is taken."""

from __future__ import annotations

import threading
from collections.abc import Callable
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
    """A machine on which a core is always idle."""
    monkeypatch.setattr(lanes, "_has_a_core", lambda: True)


def lines() -> list[Pixels]:
    """Twelve drawn lines of twelve lengths."""
    drawn = []
    for i in range(1, 13):
        picture = Image.new("RGB", (40 + 40 * i, 48), "white")
        ImageDraw.Draw(picture).text((20, 8), "".join(f"{i:<3}" for _ in range(i)), "black", ImageFont.load_default(28))
        drawn.append(np.asarray(picture))
    return drawn


@TWO_CORES
def test_two_lanes_read_what_one_reads(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(engine)
    callers: set[int] = set()

    def watched(infer: Callable[[Pixels], list[np.ndarray]]) -> Callable[[Pixels], list[np.ndarray]]:
        return lambda batch: callers.add(threading.get_ident()) or infer(batch)

    assert reader.lanes.twin is not None
    for each in (engine, reader.lanes.twin):
        monkeypatch.setattr(each, "infer", watched(each.infer))
    found = []
    for idle, used in ((True, 2), (False, 1)):
        monkeypatch.setattr(lanes, "_has_a_core", lambda idle=idle: idle)
        callers.clear()
        found.append([(read.line.text, read.line.confidence, read.steps) for read in reader.read(lines())])
        assert len(callers) == used
    assert found[0] == found[1]
    assert "12" in found[0][-1][0]


@TWO_CORES
def test_the_second_lane_leaves_a_busy_machine_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_has_a_core", lambda: False)
    lane = Lanes(engine)
    assert lane.twin is not None
    callers = lane(lambda each, _: each, range(20))
    assert set(map(id, callers)) == {id(engine)}


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


def test_a_core_is_idle_unless_as_many_threads_run_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for running, idle in ((1, True), (cores(), True), (cores() + 1, False)):
        line = f"0.00 0.01 0.05 {running}/123 4567\n"
        monkeypatch.setattr(Path, "read_text", lambda *_, line=line: line)
        assert lanes._has_a_core() is idle

"""Triton and LitServe when they start, end, are asked for too much, and lose a process."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from threading import Thread

import psutil
import pytest
import requests

from benchmarks.exits import Exit, litserve_server, triton_on
from benchmarks.processes import tree
from detserve.errors import SetupError
from detserve.pack.exits import triton as triton_exit
from tests.harness.archives import Shelf
from tests.harness.exits import asked, document, processes, small

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_triton_is_ready_when_its_models_have_answered(triton: Exit, shelf: Shelf, tmp_path: Path) -> None:
    """One whose picture for the warm-up is broken is not served, so the warm-up comes first."""
    for name in ("fd1", "td1", "ocr1"):
        (stats,) = requests.get(f"{triton.url}/v2/models/{name}/stats", timeout=60).json()["model_stats"]
        assert stats["version"] == "1"
        configuration = requests.get(f"{triton.url}/v2/models/{name}/config", timeout=60).json()
        assert [each["name"] for each in configuration["model_warmup"]] == ["drawn"]
    triton_exit.lay_out(shelf.get("fd1"), tmp_path / "models")
    (tmp_path / "models/fd1/warmup/pictures").write_bytes(b"\xff\xff\xff\x7f")
    with pytest.raises(SetupError), triton_on(tmp_path / "models", tmp_path):
        pass


def test_a_worker_of_litserve_that_dies_is_started_anew(litserve: Exit, astronaut: bytes) -> None:
    """Its requests may get a 500, and no others."""
    before = processes(litserve, "spawn_main")
    os.kill(before[0], signal.SIGKILL)
    time.sleep(2)
    deadline, good, said = time.monotonic() + 60, 0, set()
    while good < 20 or len(processes(litserve, "spawn_main")) < len(before):
        assert time.monotonic() < deadline, (said, processes(litserve, "spawn_main"))
        status = asked(litserve, document([astronaut], {})).status_code
        said.add(status)
        good = good + 1 if status == 200 else 0
    assert said <= {200, 500}


def test_requests_of_litserves_workers_that_die_are_answered_within_seconds(litserve: Exit, astronaut: bytes) -> None:
    """Those that they had by a 500; those that wait by the workers that come after them."""
    ended: list[tuple[int, float]] = []

    def ask() -> None:
        status = asked(litserve, document([astronaut] * 8, {})).status_code
        ended.append((status, time.monotonic()))

    with ThreadPoolExecutor(24) as callers:
        for _ in range(48):
            callers.submit(ask)
        while not ended:
            time.sleep(0.01)
        for worker in processes(litserve, "spawn_main"):
            os.kill(worker, signal.SIGKILL)
        killed = time.monotonic()
    assert {status for status, _ in ended} == {200, 500}
    assert max(at - killed for status, at in ended if status == 500) < 15
    assert len(ended) == 48, "each within the minute after which `asked` gives up; LitServe alone would take two"


def test_what_litserves_dying_workers_had_asked_for_is_answered_by_others(litserve: Exit, astronaut: bytes) -> None:
    """For a second, the end of the queue that such a worker held goes on to take requests, for nobody."""
    for worker in processes(litserve, "spawn_main"):
        os.kill(worker, signal.SIGKILL)
    begin = time.monotonic()
    with ThreadPoolExecutor(4) as callers:
        answers = callers.map(lambda _: asked(litserve, document([astronaut], {})).status_code, range(4))
        assert [*answers] == [200] * 4
    assert time.monotonic() - begin < 60


def test_litserve_refuses_what_its_queue_has_no_room_for(litserve: Exit, astronaut: bytes) -> None:
    sent = document([small(astronaut)] * 8, {})  # which is sent in a fraction of the time that it takes
    with ThreadPoolExecutor(200) as callers:
        answers = [*callers.map(lambda _: asked(litserve, sent), range(200))]
    refused = [each for each in answers if each.status_code != 200]
    assert 0 < len(refused) < 100
    for each in refused:
        assert (each.status_code, each.json()["type"], each.headers["Retry-After"]) == (503, "queue_full", "1")


def test_triton_refuses_what_its_queue_has_no_room_for(triton: Exit, astronaut: bytes) -> None:
    sent = document([small(astronaut)] * 8, {})
    with ThreadPoolExecutor(250) as callers:
        answers = [*callers.map(lambda _: asked(triton, sent), range(250))]
    refused = [each for each in answers if each.status_code != 200]
    assert 0 < len(refused) < 200
    assert {(each.status_code, *each.json()) for each in refused} == {(503, "error")}


def test_litserve_answers_what_is_under_way_when_it_is_ended(
    shelf: Shelf, litserve: Exit, tmp_path: Path, astronaut: bytes
) -> None:
    sent = document([small(astronaut)] * 30, {})
    with litserve_server(shelf.get("fd1"), tmp_path) as server, ThreadPoolExecutor(8) as callers:
        running = [callers.submit(asked, server, sent) for _ in range(8)]
        wait(running, return_when=FIRST_COMPLETED)  # by then the others have arrived
        waiting = sum(not each.done() for each in running)
        server.process.terminate()
        assert [each.result().status_code for each in running] == [200] * 8
        assert waiting > 2


def test_a_killed_instance_of_triton_stays_away(shelf: Shelf, triton: Exit, tmp_path: Path, astronaut: bytes) -> None:
    triton_exit.lay_out(shelf.get("fd1"), tmp_path / "models")
    with triton_on(tmp_path / "models", tmp_path) as server:
        stubs = processes(server, "triton_python_backend_stub")
        os.kill(stubs[0], signal.SIGKILL)
        said = {asked(server, document([astronaut], {})).status_code for _ in range(20)}
        assert 500 in said <= {200, 500}
        assert requests.get(f"{server.url}/v2/health/ready", timeout=60).ok
        assert len(processes(server, "triton_python_backend_stub")) < len(stubs)
        kill(server)


def test_triton_answers_what_is_under_way_when_it_is_ended(
    shelf: Shelf, tmp_path: Path, triton: Exit, astronaut: bytes
) -> None:
    triton_exit.lay_out(shelf.get("fd1"), tmp_path / "models")
    sent = document([small(astronaut)] * 30, {})
    with triton_on(tmp_path / "models", tmp_path) as server, ThreadPoolExecutor(8) as callers:
        running = [callers.submit(asked, server, sent) for _ in range(8)]
        wait(running, return_when=FIRST_COMPLETED)  # by then the others have arrived
        waiting = sum(not each.done() for each in running)
        server.process.terminate()
        assert [each.result().status_code for each in running] == [200] * 8
        assert waiting > 2
        kill(server)


def kill(server: Exit) -> None:
    """End Triton at once. By itself it waits half a minute for an instance that was killed, or for its connections."""
    for each in tree(server.process):
        each.kill()


def test_a_model_that_cannot_load_says_why(shelf: Shelf, tmp_path: Path, triton: Exit) -> None:
    triton_exit.lay_out(shelf.get("fd1"), tmp_path / "models")
    for path in (tmp_path / "models/fd1/1/engine/detect").glob("*"):
        path.write_bytes(b"no network")
    with pytest.raises(SetupError), triton_on(tmp_path / "models", tmp_path):
        pass
    assert re.search(r"fd1 cannot be loaded: .+", (tmp_path / "triton.log").read_text("utf-8"))


@pytest.mark.long  # provoked by a pause at the right moment: on a busy machine it once ended without a line
def test_an_instance_that_triton_gave_up_ends_and_triton_says_so(shelf: Shelf, tmp_path: Path, triton: Exit) -> None:
    """Triton alone would wait for it for ever, without a line in its log."""
    triton_exit.lay_out(shelf.get("fd1"), tmp_path / "models")
    Thread(target=pause_an_instance, args=(tmp_path / "models/fd1/1/model.py", 3.0), daemon=True).start()
    with pytest.raises(SetupError), triton_on(tmp_path / "models", tmp_path):
        pass
    log = (tmp_path / "triton.log").read_text("utf-8")
    assert re.search(r"fd1_0_[01] was given up by Triton while it was loading", log)
    assert re.search(r"Stub process 'fd1_0_[01]' is not healthy", log)


def pause_an_instance(model: Path, seconds: float) -> None:
    """Stop a process of that model for so long, once it has begun to load the engine."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # one that has just ended
                if str(model) in process.cmdline() and any("openvino" in each.path for each in process.memory_maps()):
                    process.suspend()
                    time.sleep(seconds)
                    process.resume()
                    return
        time.sleep(0.05)


def test_numpy_2_is_refused_by_name(shelf: Shelf, tmp_path: Path, triton: Exit) -> None:
    triton_exit.lay_out(shelf.get("fd1"), tmp_path / "models")
    with pytest.raises(SetupError), triton_on(tmp_path / "models", tmp_path, python=Path(sys.prefix)):
        pass
    assert "wants 1.26" in (tmp_path / "triton.log").read_text("utf-8")

"""The same work on Ray: on this machine alone, and on a cluster of two nodes, of which one is killed."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from detserve.bulk.ray_job import reason
from detserve.serve.launch import free_ports
from tests.bulk.conftest import DEADLY, Bulk

RAY = Path(sys.executable).with_name("ray")
STORE = 100 << 20
ENVIRONMENT = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
STARTED = "Ray runtime started"
INTERRUPTED = "bulk: interrupted; the same command goes on from here\n"
CUT = """
import sys
from detserve.bulk import command, report
def show(self, done, failed, listing):
    if done:
        raise KeyboardInterrupt
report.Progress.show = show
sys.exit(command.main())
"""
"""bulk.py with an interrupt between two tallies, where Ray Data's iterators are left as they are."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
]


def end(process: psutil.Process) -> None:
    """Kill a process and all below it."""
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            each.kill()


@contextmanager
def node(log: Path, environment: dict[str, str], *arguments: str) -> Iterator[psutil.Process]:
    """A node of Ray with one CPU, once it runs."""
    command = [str(RAY), "start", "--block", "--num-cpus", "1", "--object-store-memory", str(STORE), *arguments]
    with log.open("wb") as stream:
        started = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
    process = psutil.Process(started.pid)
    try:
        deadline = time.monotonic() + 120
        while STARTED not in log.read_text("utf-8", "replace"):
            assert started.poll() is None and time.monotonic() < deadline, log.read_text("utf-8", "replace")
            time.sleep(0.2)
        yield process
    finally:
        if started.poll() is None:
            end(process)
        started.wait()


def test_one_of_two_nodes_is_killed_and_all_rows_are_there(
    bulk: Bulk, album: Callable[[int], Path], fd1: Path, tmp_path: Path
) -> None:
    top = album(600)
    environment = os.environ | ENVIRONMENT | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    port = next(iter(free_ports().values()))
    with ExitStack() as stack:
        short = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray"))  # the path of a socket has an end
        head = ("--head", "--port", str(port), "--include-dashboard", "false", "--temp-dir", short)
        stack.enter_context(node(tmp_path / "head.log", environment, *head))
        own = json.dumps({"second": 1})
        second = ("--address", f"127.0.0.1:{port}", "--resources", own)
        killed = stack.enter_context(node(tmp_path / "second.log", environment, *second))
        process = bulk.start(top, "--shard", "20", "--ray", f"127.0.0.1:{port}", env=environment)
        try:
            deadline = time.monotonic() + 200
            while len(list(bulk.out.glob("part-*"))) < 4:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
            at_work = [each.name() for each in killed.children(recursive=True)]
            assert any("MapWorker" in name for name in at_work), at_work
            before = len(bulk.rows())
            end(killed)
            out, err = process.communicate(timeout=150)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 0, err
    assert before < 600 and "600 pictures, " in out, out
    assert bulk.left_over() == []
    undisturbed = Bulk(fd1, tmp_path / "undisturbed")
    assert undisturbed(top) == 0
    assert len(bulk.rows()) == 600 and bulk.answers() == undisturbed.answers()


def test_ray_on_this_machine_goes_on_after_a_deadly_picture_and_after_an_earlier_run(
    deadly: Path, faces: list[Path], tmp_path: Path
) -> None:
    bulk = Bulk(deadly, tmp_path / "rows")
    top = tmp_path / "album"
    top.mkdir()
    for number in range(40):
        (top / f"{number:02}.jpg").write_bytes(faces[0].read_bytes() + (DEADLY if number == 30 else b""))
    assert bulk(top, "--limit", "10") == 0
    process = bulk.start(top, "--ray", "local", "--shard", "10", env=os.environ | ENVIRONMENT)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "30 pictures, " in out and "; 10 were done before" in out, out
    rows = bulk.rows()
    assert len({row["path"] for row in rows}) == len(rows) == 40
    assert [Path(row["path"]).name for row in rows if row["status"] == "error"] == ["30.jpg"]


@pytest.mark.parametrize("end_by", [signal.SIGINT, signal.SIGTERM])
def test_ray_on_this_machine_ends_within_seconds_and_another_run_goes_on(
    bulk: Bulk, album: Callable[[int], Path], end_by: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    top = album(4000)
    process = bulk.start(top, "--ray", "local", "--shard", "20", env=os.environ | ENVIRONMENT, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while len(list(bulk.out.glob("part-*"))) < 4:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        of_ray = psutil.Process(process.pid).children(recursive=True)
        assert any("raylet" in each.name() for each in of_ray), of_ray
        start = time.monotonic()
        # A terminal interrupts the whole group; what stops a job, its command alone.
        (os.killpg if end_by == signal.SIGINT else os.kill)(process.pid, end_by)
        _, err = process.communicate(timeout=60)
        seconds = time.monotonic() - start
    finally:
        process.kill()
        process.communicate()
    with capsys.disabled():
        print(f"ended {seconds:.1f} s after {end_by.name}")
    assert seconds < 15
    assert process.returncode == 1 and err.endswith(INTERRUPTED) and "Traceback" not in err, err
    assert not psutil.wait_procs(of_ray, 10)[1], "Ray ends with it"
    before = bulk.rows()
    assert 80 <= len(before) < 4000 and bulk.left_over() == []
    assert bulk(top, "--limit", len(before) + 40) == 0
    assert " were done before" in capsys.readouterr().out
    rows = bulk.rows()
    assert len({row["path"] for row in rows}) == len(rows) >= len(before) + 40


def test_what_ray_data_is_at_has_ended_before_the_last_line(bulk: Bulk, album: Callable[[int], Path]) -> None:
    command = [sys.executable, "-c", CUT, *bulk.arguments(album(400), "--ray", "local", "--shard", "20")]
    ended = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and ended.stderr.endswith(INTERRUPTED), ended.stderr
    for trouble in ("Traceback", "Started a local Ray instance", "Exception ignored"):
        assert trouble not in ended.stderr, ended.stderr


def test_what_an_actor_raised_is_said_and_not_the_call() -> None:
    from ray.exceptions import RayTaskError

    raised = RayTaskError("f", "traceback", ValueError("no such thing\nsecond line"), pid=1, ip="127.0.0.1")
    assert reason(raised.as_instanceof_cause()) == "ValueError: no such thing"
    assert reason(ConnectionError("gone\nmore")) == "gone"


def test_no_cluster_is_one_line(bulk: Bulk, album: Callable[[int], Path]) -> None:
    top = album(2)
    port = next(iter(free_ports().values()))
    process = bulk.start(top, "--ray", f"127.0.0.1:{port}", env=os.environ | ENVIRONMENT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith(f"bulk: no Ray at 127.0.0.1:{port}: "), err

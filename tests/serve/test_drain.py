"""SIGTERM while requests wait and are worked on; tests/chaos has the same under load."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import requests

from detserve.client import grpc as grpc_client
from detserve.serve.config import Settings
from detserve.serve.output import busy_workers
from tests.harness.archives import write_archive
from tests.harness.server import Served, java_processes

Serve = Callable[..., Served]


def put(settings: Settings, name: str, data: bytes) -> requests.Response:
    return requests.put(f"http://127.0.0.1:{settings.port}/predictions/{name}", data=data, timeout=60)


def answers(running: list[Future[requests.Response]]) -> list[bytes]:
    found = [future.result() for future in running]
    assert [answer.status_code for answer in found] == [200] * len(found)
    return [answer.content for answer in found]


@pytest.mark.slow
@pytest.mark.e2e
def test_what_waits_and_what_is_worked_on_is_answered(settings: Settings, serve_py: Serve) -> None:
    write_archive(settings.model_store, "slow")
    served = serve_py(settings, "slow", "--batch-size", "2")
    served.wait_ready()
    sent = [b"picture %d" % n for n in range(4)]
    with ThreadPoolExecutor(5) as pool, grpc_client.channel(f"127.0.0.1:{settings.grpc_port}") as channel:
        assert grpc_client.predict(channel, "slow", b"first") == b"first"  # the first one is slow
        # gRPC first: for what is worked on over gRPC TorchServe itself waits.
        over_grpc = pool.submit(grpc_client.predict, channel, "slow", b"over gRPC")
        time.sleep(0.5)
        running = [pool.submit(put, settings, "slow", data) for data in sent]
        time.sleep(0.5)
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert put(settings, "slow", b"late").status_code == 503
        assert answers(running) == sent
        assert over_grpc.result() == b"over gRPC"
    assert served.end() == (0, "")
    assert java_processes(settings) == []


@pytest.mark.e2e
@pytest.mark.slow
def test_a_batch_that_waits_for_others_is_answered(settings: Settings, serve_py: Serve) -> None:
    served = serve_py(settings, "--batch-size", "4", "--max-batch-delay", "1500")
    served.wait_ready()
    with ThreadPoolExecutor(1) as pool:
        running = [pool.submit(put, settings, "echo", b"alone")]
        time.sleep(0.7)
        assert served.end(signal.SIGTERM) == (0, "")
        assert answers(running) == [b"alone"]


@pytest.mark.e2e
@pytest.mark.slow
def test_a_worker_that_hangs_holds_the_end_up_for_so_long_only(settings: Settings, serve_py: Serve) -> None:
    write_archive(settings.model_store, "hung")
    served = serve_py(settings, "hung")
    served.wait_ready()
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(put, settings, "hung", b"picture")
        time.sleep(1)
        begin = time.monotonic()
        assert served.end(signal.SIGTERM) == (0, "")
        assert 15 < time.monotonic() - begin < 35
        assert isinstance(lost.exception(), requests.ConnectionError)
    assert java_processes(settings) == []


@pytest.mark.e2e
@pytest.mark.slow
def test_the_end_comes_before_the_limit_that_it_is_given(settings: Settings, serve_py: Serve) -> None:
    limit = 14
    write_archive(settings.model_store, "hung")
    served = serve_py(settings, "hung", "--stop-timeout", str(limit))
    served.wait_ready()
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(put, settings, "hung", b"picture")
        time.sleep(1)
        begin = time.monotonic()
        assert served.end(signal.SIGTERM) == (0, "")
        assert 7 < time.monotonic() - begin < limit
        assert isinstance(lost.exception(), requests.ConnectionError)
    assert java_processes(settings) == []


def test_the_threads_of_a_dump_tell_which_workers_are_busy() -> None:
    waits = "\tat org.pytorch.serve.wlm.Model.pollBatch(Model.java:482)\n"
    infers = "\tat java.util.concurrent.ArrayBlockingQueue.poll(ArrayBlockingQueue.java:435)\n"
    runs = "\tat org.pytorch.serve.wlm.WorkerThread.run(WorkerThread.java:232)\n"
    reads = "\tat org.pytorch.serve.wlm.WorkerLifeCycle$ReaderThread.run(WorkerLifeCycle.java:400)\n"
    threads = [
        f'"W-9000-fd1_1.0" #20 waiting\n{waits}{runs}',
        f'"W-9001-fd1_1.0" #21 waiting\n{infers}{runs}',
        f'"W-9001-fd1_1.0-stdout" #22 runnable\n{reads}',
        '"W-9002-gone_1.0" #23 waiting\n\tat java.util.concurrent.ThreadPoolExecutor.getTask\n',
    ]
    logged = f"2026-11-20T15:16:01.000Z [ERROR] W-9003 died\nInterruptedException: null\n{infers}{runs}"
    dump = "\n".join(["Full thread dump\n", *threads[:2], logged, *threads[2:]])
    assert busy_workers(dump) == ["W-9001-fd1_1.0"]
    assert busy_workers(threads[0]) == []

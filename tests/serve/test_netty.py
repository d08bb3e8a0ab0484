"""What size Java reads bodies by."""

from __future__ import annotations

import psutil
import pytest
import requests

from detserve.serve.config import Settings
from tests.harness.server import java_processes

BODY = 4_000_000


def reads_of(settings: Settings) -> int:
    (java,) = java_processes(settings)
    return psutil.Process(java.pid).io_counters().read_count


@pytest.mark.e2e
def test_a_body_is_read_by_more_than_4096_bytes_at_a_time(bare: Settings) -> None:
    url = f"http://127.0.0.1:{bare.port}/predictions/none"
    for _ in range(5):  # what Java loads for the first ones it reads as well
        assert requests.put(url, bytes(BODY), timeout=60).status_code == 404
    before = reads_of(bare)
    assert requests.put(url, bytes(BODY), timeout=60).status_code == 404
    reads = reads_of(bare) - before
    assert reads < BODY / 4096 / 3, f"{reads} reads"

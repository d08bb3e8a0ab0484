"""What goes wrong inside a worker, in real workers: only what must fail fails, and the cause is said."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from detserve.pack.packer import ModelChoice, PackRequest, pack
from detserve.serve.config import Settings
from detserve.serve.launch import free_ports
from tests.e2e.own_model import POISON, STUMBLE
from tests.harness.server import Served, Server

HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def _own_module_on_the_path() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        yield


@pytest.fixture(scope="module")
def stumbling(server: Server) -> Iterator[str]:
    """The name of a served model of the user's own, in batches of four."""
    pack(PackRequest(name="own", detect=ModelChoice(model="own_model:Spec"), out=server.store))
    query = "url=own.mar&initial_workers=1&batch_size=4&max_batch_delay=500&synchronous=true"
    answer = requests.post(f"{server.management}/models?{query}", timeout=60)
    assert answer.status_code == 200, answer.text
    yield "own"
    requests.delete(f"{server.management}/models/own", timeout=60)


def test_a_failure_of_the_engine_is_a_500_for_that_picture_alone(server, stumbling: str, astronaut: bytes) -> None:
    pids = server.pids(stumbling)
    thresholds = ["0.5", str(STUMBLE), "0.5", "0.6"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda conf: server.predict(stumbling, astronaut, X_Conf_Threshold=conf), thresholds))
    assert [answer.status_code for answer in answers] == [200, 500, 200, 200]
    body = answers[1].json()
    assert (body["code"], body["type"]) == (500, "internal_error")
    assert "stumbled" not in answers[1].text and "/" not in answers[1].text
    assert len(answers[0].json()) == 1
    assert server.pids(stumbling) == pids


def test_a_poisoned_cuda_context_ends_the_worker_and_a_fresh_one_serves(server, stumbling, astronaut: bytes) -> None:
    (pid,) = server.pids(stumbling)
    assert server.predict(stumbling, astronaut, X_Conf_Threshold=str(POISON)).status_code >= 500
    deadline = time.monotonic() + 30
    while server.predict(stumbling, astronaut).status_code != 200:
        assert time.monotonic() < deadline, "the worker was not started anew"
        time.sleep(0.2)
    assert server.pids(stumbling) != [pid]


@pytest.mark.slow
def test_a_missing_package_reaches_the_user_by_its_name(tmp_path: Path) -> None:
    pack(PackRequest(name="needy", detect=ModelChoice(model="needy_model:Spec"), out=tmp_path / "store"))
    settings = Settings(model_store=tmp_path / "store", run_dir=tmp_path / "run", **free_ports())
    status, errors = Served(settings, "needy").end()
    assert status == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("serve: ")]
    assert "needy needs the package 'package_that_is_nowhere'" in line

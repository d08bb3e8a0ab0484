"""A new version of a model beside the old one, made the default, and the old one removed: under load, nothing fails."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from detserve.errors import ServerFailed
from detserve.pack.packer import ModelChoice, PackRequest, pack
from detserve.serve import versions
from detserve.serve.management import Management
from detserve.serve.model_config import Registration
from tests.harness.load import Load
from tests.harness.server import Server

NAME = "fdv"
CALLERS = 6


@contextmanager
def asked(server: Server, picture: bytes) -> Iterator[Load]:
    """Callers that ask one after the other; twenty answers have come when the block begins."""
    with Load(server.port, NAME, [picture], CALLERS, timeout=30) as load:
        load.wait_for(20)
        yield load


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Version → archive: 2.0 finds faces at twice the size."""
    folder = tmp_path_factory.mktemp("versions")
    return {
        version: pack(PackRequest(name=NAME, version=version, detect=model, out=folder / version))
        for version, model in (
            ("1.0", ModelChoice(model="centerface")),
            ("2.0", ModelChoice(model="centerface", settings={"size": (640, 640)})),
        )
    }


def put(archive: Path, server: Server) -> None:
    """An archive into the store, in the place of the one before, as repack.py does."""
    scratch = server.store / ".part"
    shutil.copyfile(archive, scratch)
    scratch.replace(server.store / f"{NAME}.mar")


def versions_py(server: Server, *arguments: str) -> str:
    place = ["--management", server.management, "--run-dir", str(server.run_dir)]
    command = [sys.executable, "-m", "detserve", "versions", NAME, *arguments, *place]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def unpacked_folders(server: Server) -> int:
    return len(list((server.run_dir / "tmp" / "models").iterdir()))


@pytest.fixture
def management(server: Server, archives: dict[str, Path]) -> Iterator[Management]:
    """Version 1.0 is served by two workers; all versions are gone afterwards."""
    put(archives["1.0"], server)
    manage = Management(server.management, server.run_dir)
    manage.register(f"{NAME}.mar", NAME, Registration(workers=2, batch_size=2))
    manage.wait_ready(NAME)
    yield manage
    for version in reversed(manage.versions(NAME)):
        place = f"{server.management}/models/{NAME}/{version['modelVersion']}"
        assert requests.delete(place, timeout=60).status_code == 200
    (server.store / f"{NAME}.mar").unlink()


@pytest.mark.slow
@pytest.mark.parametrize("turn", [0, 1])
def test_no_request_fails_when_versions_change_under_load(
    server: Server, management: Management, archives: dict[str, Path], astronaut: bytes, turn: int
) -> None:
    folders = unpacked_folders(server)
    with asked(server, astronaut) as load:
        put(archives["2.0"], server)  # in the place of the archive that 1.0 was unpacked from
        management.register(f"{NAME}.mar", NAME, Registration(workers=1, batch_size=2))
        management.wait_ready(NAME, "2.0")
        load.wait_for(20)
        assert set(load.said) == {f"{NAME}/1.0"}, "a new version answers before it is the default"
        new, old = versions_py(server, "--default", "2.0").splitlines()
        assert new.startswith(f"{NAME}/2.0: 1 of 1 workers ready, ") and new.endswith("requests that name no version")
        assert old.startswith(f"{NAME}/1.0: 2 of 2 workers ready, ") and old.endswith(" requests wait")
        load.wait_for(20, f"{NAME}/2.0")
        versions_py(server, "--retire", "1.0")
        load.wait_for(20)
    print(f"turn {turn}: {dict(load.said)}")
    assert set(load.said) == {f"{NAME}/1.0", f"{NAME}/2.0"}
    assert [each["modelVersion"] for each in management.versions(NAME)] == ["2.0"]
    assert (server.store / f"{NAME}.mar").is_file()
    assert unpacked_folders(server) == folders


@pytest.mark.slow
def test_the_two_commands_of_docs_versions_lose_no_request(
    server: Server, management: Management, astronaut: bytes
) -> None:
    with asked(server, astronaut) as load:
        options = ["--model", "centerface", "--size", "640", "--version", "2.0", "--out", str(server.store)]
        command = [sys.executable, "repack.py", NAME, *options, "--register", server.management]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert ended.returncode == 0, ended.stderr
        assert f"{NAME}/1.0 is still there: python -m detserve versions {NAME} --retire 1.0" in ended.stdout
        load.wait_for(20, f"{NAME}/2.0")
        (listed,) = versions_py(server, "--retire", "1.0").splitlines()
        assert listed.startswith(f"{NAME}/2.0: ")
        load.wait_for(20)
    print(f"packed, registered and retired under load: {dict(load.said)}")
    assert set(load.said) == {f"{NAME}/1.0", f"{NAME}/2.0"}


class Burst(Load):
    """Sixty callers at once, so that most must wait; and what they were answered."""

    def __init__(self, server: Server, management: Management, picture: bytes, timeout: float) -> None:
        super().__init__(server.port, NAME, [picture], callers=60, timeout=timeout, times=1)
        self.__enter__()
        while management.versions(NAME)[0]["jobQueueStatus"]["pendingRequests"] < 10:
            assert self.busy, "they were answered too fast to wait"

    def counts(self) -> Counter[str]:
        self.end()
        return self.said


def burst_before_the_switch(
    server: Server, management: Management, archive: Path, picture: bytes, timeout: float
) -> Burst:
    """Version 2.0 is registered, sixty callers ask 1.0, and then 2.0 is the default."""
    put(archive, server)
    management.register(f"{NAME}.mar", NAME, Registration(workers=1))
    management.wait_ready(NAME, "2.0")
    burst = Burst(server, management, picture, timeout)
    management.set_default(NAME, "2.0")
    return burst


def test_all_that_waits_is_answered_before_a_version_goes(
    server: Server, management: Management, archives: dict[str, Path], astronaut: bytes
) -> None:
    """The queue of the old version is long and both its workers are busy when it is told to go."""
    burst = burst_before_the_switch(server, management, archives["2.0"], astronaut, timeout=60)
    management.retire(NAME, "1.0")
    counts = burst.counts()
    assert counts.total() == 60 and set(counts) <= {f"{NAME}/1.0", f"{NAME}/2.0"}, counts
    assert counts[f"{NAME}/1.0"] >= 10


@pytest.mark.slow
def test_torchserves_own_removal_leaves_what_waits_unanswered(
    server: Server, management: Management, archives: dict[str, Path], astronaut: bytes
) -> None:
    """Why `retire` waits; and that the tests above would see it if it did not."""
    burst = burst_before_the_switch(server, management, archives["2.0"], astronaut, timeout=5)
    status = requests.delete(f"{server.management}/models/{NAME}/1.0", timeout=60).status_code
    # Where a worker does not end in time TorchServe answers 500, and puts the version back without workers.
    left = {each["modelVersion"]: each["workers"] for each in management.versions(NAME)}
    assert (status, left.get("1.0")) in [(200, None), (500, [])]
    counts = burst.counts()
    print(f"after a DELETE in the midst of sixty requests: {dict(counts)}")
    assert sum(count for said, count in counts.items() if not said.startswith(f"{NAME}/")) > 0


@pytest.mark.slow
def test_a_worker_of_the_old_version_starts_anew_as_the_old_version(
    server: Server, management: Management, archives: dict[str, Path], astronaut: bytes
) -> None:
    """Its archive's file is by then that of the new one."""
    put(archives["2.0"], server)
    pids = server.pids(NAME)
    for pid in pids:
        psutil.Process(pid).kill()
    deadline = time.monotonic() + 60
    while set(server.pids(NAME)) & set(pids) or {w["status"] for w in server.workers(NAME)} != {"READY"}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert server.predict(NAME, astronaut).headers["X-Model"] == f"{NAME}/1.0"


def test_what_cannot_be_retired_is_told_and_stays(
    server: Server, management: Management, archives: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ServerFailed, match=r"fdv/1\.0 is the default version: make another the default first"):
        management.retire(NAME, "1.0")
    with pytest.raises(ServerFailed, match=r"fdv has no version '3\.0': 1\.0"):
        management.retire(NAME, "3.0")
    put(archives["2.0"], server)
    management.register(f"{NAME}.mar", NAME, Registration(workers=1))
    management.wait_ready(NAME, "2.0")
    with pytest.raises(ServerFailed, match=r"fdv/2\.0 is not done after -1 s: 0 requests wait"):
        management.retire(NAME, "2.0", timeout=-1)
    assert [each["modelVersion"] for each in management.versions(NAME)] == ["1.0", "2.0"]
    place = ["--management", server.management, "--run-dir", str(server.run_dir)]
    capsys.readouterr()
    assert versions.main([NAME, "--default", "4.0", *place]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("versions: TorchServe refused GET /models/fdv/4.0 (404): ")

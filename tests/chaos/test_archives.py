"""Damaged archives registered beside a good one: each is refused with its cause, and the good one goes on."""

from __future__ import annotations

import random
import time
import zipfile
from collections.abc import Iterator

import pytest
import requests

from detserve.errors import ServerFailed
from detserve.serve.management import Management
from detserve.serve.model_config import Registration
from tests.chaos.conftest import WORKERS, at_full_strength, until
from tests.harness.load import Load, Tally, hit_once
from tests.harness.server import Server

FLIPS = [pytest.param(6, id="short"), pytest.param(40, id="long", marks=pytest.mark.long)]
ONE_WORKER = Registration(workers=1)


def try_out(server: Server, archive: str, photo: bytes) -> str:
    """Register an archive and take it away again → "served", or the one line that says why not."""
    management = Management(server.management, server.run_dir)
    begin = time.monotonic()
    try:
        management.register(archive, "damaged", ONE_WORKER)
        management.wait_ready("damaged")
        assert hit_once(server.port, "damaged", photo).status == 200, "registered, ready, and does not answer"
        return "served"
    except ServerFailed as error:
        assert "\n" not in str(error)
        assert time.monotonic() - begin < max(20, 5 * server.ready_seconds), "told late"
        return str(error)
    finally:
        requests.delete(f"{server.management}/models/damaged", timeout=60)


def damaged(server: Server, name: str, data: bytes) -> str:
    (server.store / name).write_bytes(data)
    return name


@pytest.mark.parametrize("count", FLIPS)
def test_flipped_bits_and_cut_archives_are_refused(server: Server, photo: bytes, count: int) -> None:
    whole = (server.store / "fd1.mar").read_bytes()
    pids = server.pids("fd1")
    dice = random.Random(count)
    told = []
    with Load(server.port, "fd1", [photo], callers=2, think=0.1) as load:
        for number in range(count):
            data = bytearray(whole)
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            told.append(try_out(server, damaged(server, f"flipped{number}.mar", bytes(data)), photo))
            told.append(try_out(server, damaged(server, f"cut{number}.mar", whole[: dice.randrange(len(data))]), photo))
        until(lambda: len(load.hits) > 10, 10)
    tally = Tally.of(load.hits)
    refused = [text for text in told if text != "served"]
    print(f"\n{len(told)} damaged archives: {len(refused)} refused; the good one: {tally}")
    print(f"  {refused[0]}")
    assert len(refused) > 0.9 * len(told), "served in spite of it, which is right only where no content is touched"
    assert all("cannot unpack" in text and "python repack.py" in text for text in refused)
    assert tally.sent == tally.answered > 10
    assert server.pids("fd1") == pids


@pytest.mark.slow
def test_a_handler_that_cannot_be_imported_is_told_by_its_cause(server: Server, photo: bytes) -> None:
    with zipfile.ZipFile(server.store / "fd1.mar") as good, zipfile.ZipFile(server.store / "torn.mar", "w") as torn:
        for info in good.infolist():
            content = good.read(info)
            torn.writestr(
                info,
                b"import package_that_is_nowhere\n" + content if info.filename == "picture_handler.py" else content,
            )
    with Load(server.port, "fd1", [photo], callers=2, think=0.1) as load:
        told = try_out(server, "torn.mar", photo)
        until(lambda: len(load.hits) > 10, 10)
    tally = Tally.of(load.hits)
    print(f"\na handler that cannot be imported: {told}; the good one: {tally}")
    assert "No module named 'package_that_is_nowhere'" in told
    assert tally.sent == tally.answered > 10
    assert at_full_strength(server, "fd1", WORKERS)


@pytest.fixture(autouse=True)
def _clean_store(server: Server) -> Iterator[None]:
    yield
    for path in server.store.glob("*.mar"):
        if path.name != "fd1.mar":
            path.unlink()

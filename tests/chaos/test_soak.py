"""Pictures of all sizes, good and bad, for as long as is asked for: DETSERVE_SOAK_MINUTES of the long one (ten)."""

from __future__ import annotations

import os
import time
from io import BytesIO

import PIL.Image
import psutil
import pytest

from tests.chaos.mutations import mutate
from tests.harness.load import Load, Tally
from tests.harness.server import Server

SIZES = [(320, 240), (640, 480), (512, 512), (1280, 720), (1920, 1080), (3000, 2000), (4000, 3000)]
BAD = 7
"""Bad pictures among as many good ones."""
FIRST_BAD = 6
"""The number of the first mutation: of these seven, three can still be decoded."""
MINUTES = float(os.environ.get("DETSERVE_SOAK_MINUTES", "10"))
GROWTH = 0.03
"""Of a worker's memory after the first minute."""


@pytest.fixture(scope="module")
def pictures(astronaut: bytes) -> list[bytes]:
    """Good ones first, then bad ones."""
    photo = PIL.Image.open(BytesIO(astronaut)).convert("RGB")
    good = []
    for size in SIZES:
        buffer = BytesIO()
        photo.resize(size).save(buffer, "JPEG", quality=85)
        good.append(buffer.getvalue())
    named = {"astronaut": astronaut, **{str(size): data for size, data in zip(SIZES, good, strict=True)}}
    return good + [mutate(named, number)[1] for number in range(FIRST_BAD, FIRST_BAD + BAD)]


def memory(pids: list[int]) -> dict[int, int]:
    """The least of each in four seconds: at any moment a worker may hold a picture of 36 MB."""
    samples = []
    for _ in range(40):
        samples.append({pid: psutil.Process(pid).memory_info().rss for pid in pids})
        time.sleep(0.1)
    return {pid: min(sample[pid] for sample in samples) for pid in pids}


@pytest.mark.parametrize("seconds", [
    pytest.param(4, id="short", marks=pytest.mark.slow),
    pytest.param(60 * MINUTES, id="long", marks=[pytest.mark.long, pytest.mark.timeout(60 * MINUTES + 300)]),
])  # fmt: skip
def test_good_pictures_are_all_answered_and_no_worker_grows(
    server: Server, pictures: list[bytes], seconds: float
) -> None:
    pids = server.pids("fd1")
    settled = min(60, seconds / 4)
    with Load(server.port, "fd1", pictures, callers=4) as load:
        time.sleep(settled)
        before = memory(pids)
        time.sleep(seconds - settled)
        after = memory(pids)
    good = Tally.of(hit for hit in load.hits if hit.picture < len(SIZES))
    bad = Tally.of(hit for hit in load.hits if hit.picture >= len(SIZES))
    growth = max(after[pid] / before[pid] - 1 for pid in pids)
    print(f"\n{seconds:.0f} s\n  good pictures: {good}\n  bad pictures: {bad}\n  a worker grew by {growth:.1%} at most")
    assert good.sent == good.answered > 2 * seconds
    assert bad.sent == bad.answered + bad.rejected > 2 * seconds
    assert bad.rejected > bad.sent / 3, "hardly any was bad"
    assert server.pids("fd1") == pids, "a worker was started anew"
    if seconds >= 120:
        assert growth < GROWTH

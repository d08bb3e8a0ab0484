"""A run that is killed again and again, at any moment."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.bulk.conftest import Bulk

TIMES = 10
SHARD = 10


Kill = Callable[[int, int], None]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("pictures", "kills"),
    [
        # In turns the parent alone, whose processes are in the middle of a shard, and the whole of it.
        pytest.param(500, (os.kill, os.killpg), id="short", marks=pytest.mark.slow),
        pytest.param(5000, (os.killpg,), id="long", marks=pytest.mark.long),
    ],
)
def test_killed_ten_times_nothing_is_lost_and_nothing_doubled(
    bulk: Bulk, album: Callable[[int], Path], fd1: Path, tmp_path: Path, pictures: int, kills: Sequence[Kill]
) -> None:
    top = album(pictures)
    moments = random.Random(7)
    shards = sorted(moments.sample(range(pictures // SHARD), TIMES))
    reached = []
    for kill, there in zip(itertools.cycle(kills), shards):
        process = bulk.start(top, "--shard", str(SHARD), start_new_session=True)
        # Where so many shards are there from the run before, it is killed while it starts.
        while process.poll() is None and len(list(bulk.out.glob("part-*"))) < there:
            time.sleep(0.02)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, 0.5))
        if process.poll() is None:
            kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        reached.append(len(bulk.rows()))
    print(f"rows after each of the {TIMES} kills: {reached}")
    assert bulk(top) == 0
    assert bulk.left_over() == []
    undisturbed = Bulk(fd1, tmp_path / "undisturbed")
    assert undisturbed(top) == 0
    rows = bulk.answers()
    assert rows == undisturbed.answers()
    assert len({row["path"] for row in rows}) == len(rows) == pictures
    assert reached == sorted(reached) and len(set(reached)) > 3, reached

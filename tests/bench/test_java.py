"""What Java costs: the processor time that is counted, and the whole measurement on small pictures."""

from __future__ import annotations

import time

import psutil
import pytest

from benchmarks import java


def test_processor_time_and_waits_of_a_process_are_counted() -> None:
    cpu, waits = java.spent(psutil.Process())
    deadline = time.process_time() + 0.2
    while time.process_time() < deadline:
        pass
    for _ in range(20):
        time.sleep(0.001)
    cpu_after, waits_after = java.spent(psutil.Process())
    assert cpu_after - cpu >= 0.15
    assert waits_after - waits >= 20


@pytest.mark.slow
def test_servers_with_other_flags_are_measured_side_by_side(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(java, "SIZES", ("64x64", "256x256"))
    monkeypatch.setattr(java, "CALLERS", (1, 2))
    monkeypatch.setattr(java, "FIRST_SECONDS", 1.0)
    flags = "-Xmn32m MALLOC_ARENA_MAX=2"
    assert java.main([flags, "--rounds", "1", "--seconds", "0.5"]) == 0
    tables = capsys.readouterr().out.strip().partition("\n")[2].split("\n\n")
    assert [table.split()[0] for table in tables] == ["cpu", "wakes", "rate", "MB"]
    for table in tables:
        _, shipped, other = table.splitlines()
        assert shipped.startswith(java.SHIPPED) and other.startswith(flags)
        figures = [float(word) for line in (shipped, other) for word in line.split()[2:]]
        assert len(figures) == 8 and min(figures) > 0, table

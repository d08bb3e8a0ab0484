"""The session on a GPU, as far as a processor goes: what becomes of a step that fails or hangs, and of its figures."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import gpu_session, gpu_steps

ROOT = Path(__file__).parents[2]
ROW = {"step": "engines", "date": "2026-11-20", "gpu": "NVIDIA H200", "versions": "torch 2.13.0"}


def test_figures_become_rows_of_the_documents_table() -> None:
    rows = [{**ROW, "what": "centerface 320, all", "value": 0.25, "unit": "ms", "batch": 8}]
    table = gpu_session.markdown([*rows, {**rows[0], "batch": None, "value": 5000.0, "unit": "pictures/s"}])
    assert table.splitlines()[2:] == [
        "| 2026-11-20 | NVIDIA H200 | torch 2.13.0 | centerface 320, all | 8 | 0.25 ms |",
        "| 2026-11-20 | NVIDIA H200 | torch 2.13.0 | centerface 320, all |  | 5000 pictures/s |",
    ]


def test_a_line_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    assert gpu_session.read(tmp_path) == []
    (tmp_path / "rows.jsonl").write_text('{"step": "a"}\n{"step": "b", "val')
    assert gpu_session.read(tmp_path) == [{"step": "a"}]


def test_a_step_that_hangs_ends_with_all_that_it_started() -> None:
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    process = subprocess.Popen([sys.executable, "-c", f"{code} print(flush=True); time.sleep(60)"], stdout=-1)
    assert process.stdout is not None
    process.stdout.readline()
    (child,) = psutil.Process(process.pid).children()
    gpu_steps.end(process)
    psutil.wait_procs([child], 10)
    assert process.returncode != 0 and not child.is_running()
    process.stdout.close()


def test_every_step_has_its_share_of_the_minutes() -> None:
    assert list(gpu_session.SHARES) == list(gpu_steps.STEPS)
    assert sum(gpu_session.SHARES.values()) == 30


def test_an_unknown_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        gpu_session.main(["--out", str(tmp_path), "--steps", "engines,lunch"])


@pytest.mark.slow
def test_a_session_on_a_processor_keeps_what_it_measured(tmp_path: Path) -> None:
    assert gpu_session.main(["--out", str(tmp_path), "--steps", "suppression,memory", "--minutes", "30"]) == 0
    rows = gpu_session.read(tmp_path)
    assert [row["batch"] for row in rows] == [16, 16]
    assert "on the processor" in (tmp_path / "rows.md").read_text()


@pytest.mark.parametrize("folder", ["detserve", "benchmarks", "tests"])
def test_the_code_is_python_3_10_but_for_what_the_shim_supplies(folder: str) -> None:
    """TensorRT 8.5 has no packages for a newer Python."""
    for path in (ROOT / folder).rglob("*.py"):
        ast.parse(path.read_text("utf-8"), str(path), feature_version=(3, 10))


def test_the_shim_supplies_what_python_3_10_lacks(tmp_path: Path) -> None:
    python = shutil.which("python3.10")
    if python is None:
        pytest.skip("no python3.10 here")
    (tmp_path / "typing_extensions.py").write_text("from typing import Any\nSelf = Any\n")  # torch brings the real one
    code = (
        "import sys, io, hashlib, detserve.core.machine, detserve.archives.checksums, detserve.options;"
        "from typing import Self; from datetime import UTC;"
        "print(sys.version_info[:2], hashlib.file_digest(io.BytesIO(b'a' * 999999), 'sha256').hexdigest()[:8])"
    )
    here = os.environ | {"PYTHONPATH": f"{ROOT / 'benchmarks/python310'}:{tmp_path}:{ROOT}"}
    ended = subprocess.run([python, "-c", code], capture_output=True, text=True, env=here, cwd=tmp_path)
    if "not found" in ended.stderr or "not installed" in ended.stderr:
        pytest.skip("python3.10 is a name without a Python here")
    assert ended.returncode == 0, ended.stderr
    import hashlib

    assert ended.stdout == f"(3, 10) {hashlib.sha256(b'a' * 999999).hexdigest()[:8]}\n"

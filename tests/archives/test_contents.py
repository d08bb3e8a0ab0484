"""What goes into an archive: one list, which packing, the Makefile and docker/engines.py read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from detserve.archives import contents
from detserve.pack.packer import ModelChoice, PackRequest, pack

ROOT = Path(__file__).parents[2]
NOT_FOR_WORKERS = ("pack", "client", "demo", "bench", "bulk", "serve", "serving", "cli.py", "places.py", "__main__.py")


def test_what_decides_is_all_that_packing_imports() -> None:
    """Of detserve, beside what goes into the archive: neither less nor code that has nothing to do with it."""
    code = "import sys, detserve.pack.command, detserve.pack.packer, detserve.pack.agreement; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    imported = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    modules = {name.replace(".", "/") for name in imported if name.startswith("detserve.")}
    listed = {
        name.removesuffix(".py").removesuffix("/__init__")
        for name in (*contents.files(), *contents.deciding())
        if name.startswith("detserve/")
    }
    assert modules <= listed
    assert {name.removesuffix(".py").removesuffix("/__init__") for name in contents.deciding()} <= modules


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The parts of the project that packing is made of, in a folder of their own."""
    for part in ("detserve", "handlers", "config", "docker", "requirements"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Makefile", tmp_path)
    return tmp_path


@pytest.fixture
def later() -> float:
    """A moment after everything that was copied."""
    return time.time() + 10


def test_the_list_has_what_a_worker_runs_and_nothing_else() -> None:
    packed = set(contents.files())
    assert {"detserve/worker/handler.py", "detserve/models/centerface/network.py", "detserve/spec.py"} <= packed
    assert [name for name in packed if name.startswith(tuple(f"detserve/{part}" for part in NOT_FOR_WORKERS))] == []
    every = {path.relative_to(ROOT).as_posix() for path in (ROOT / "detserve").rglob("*.py")}
    left_out = {name.split("/")[1] for name in every - packed}
    assert left_out == set(NOT_FOR_WORKERS)


def test_an_archive_holds_exactly_that_list(tmp_path: Path) -> None:
    model = ModelChoice(model="centerface", settings={"size": (128, 128)})
    with zipfile.ZipFile(pack(PackRequest(name="fd1", detect=model, backend="eager", out=tmp_path))) as mar:
        held = {name for name in mar.namelist() if name.endswith(".py")}
    assert held == set(contents.files())


def test_a_change_of_the_client_packs_nothing_anew_and_one_of_the_worker_does(copy: Path, later: float) -> None:
    """By what make would do."""
    venv = copy / "venv"
    venv.mkdir()
    (venv / ".serve").touch()
    os.utime(venv / ".serve", (later, later))
    (copy / "model_store").mkdir()
    archive = copy / "model_store" / "fd1.mar"
    archive.touch()
    os.utime(archive, (later, later))

    def makes() -> str:
        command = ["make", "-n", f"VENV={venv}", "model_store/fd1.mar"]
        return subprocess.run(command, cwd=copy, capture_output=True, text=True, check=True).stdout

    for unpacked in ("client/http.py", "bench/report.py", "serve/frontend.py", "cli.py"):
        os.utime(copy / "detserve" / unpacked, (later + 10, later + 10))
    assert "is up to date" in makes()
    for packed in (
        "detserve/core/letterbox.py",
        "handlers/picture_handler.py",
        "config/fd1.yaml",
        "detserve/pack/packer.py",
        "detserve/serve/defaults.py",
    ):
        os.utime(copy / packed, (later + 10, later + 10))
        assert "repack.py fd1" in makes(), packed
        os.utime(copy / packed, (later - 10, later - 10))
        assert "is up to date" in makes(), packed


def test_a_change_of_the_client_builds_no_engine_anew_in_a_container(copy: Path) -> None:
    """By the name of the folder that engines are kept in."""
    code = "import engines; print(engines._digest('tensorrt', 'fp16'))"

    def digest() -> str:
        command = [sys.executable, "-B", "-c", code]
        return subprocess.run(command, cwd=copy / "docker", capture_output=True, text=True, check=True).stdout

    def append(name: str) -> None:
        with (copy / name).open("a") as file:
            file.write("\n# a change\n")

    first = digest()
    for unpacked in ("detserve/client/http.py", "detserve/serve/frontend.py", "config/metrics.yaml"):
        append(unpacked)
    assert digest() == first
    for packed in (
        "detserve/core/letterbox.py",
        "handlers/picture_handler.py",
        "config/td1.yaml",
        "detserve/pack/packer.py",
        "detserve/serve/defaults.py",
        "detserve/places.py",
    ):
        before = digest()
        append(packed)
        assert digest() != before, packed

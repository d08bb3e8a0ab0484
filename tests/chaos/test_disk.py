"""A disk that is really full while an archive is packed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detserve.archives import archive
from detserve.archives.recipe import Recipe
from detserve.errors import BadArchive
from tests.archives.test_archive import RECIPE

ROOT = Path(__file__).parents[2]
DISK = 4 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def used(folder: Path) -> int:
    status = os.statvfs(folder)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def write(path: Path, source: Path, recipe: Recipe = RECIPE) -> None:
    archive.write(path, "fd1", "1.0", "face.py", recipe, {"face.py": source})


def test_a_full_disk_leaves_the_old_archive_and_no_piece_of_the_new(disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "weights"
    source.write_bytes(os.urandom(1 << 20))
    target = disk / "fd1.mar"
    write(target, source)
    before, taken = target.read_bytes(), used(disk)
    source.write_bytes(os.urandom(DISK))
    with pytest.raises(BadArchive, match=r"^cannot write .*fd1\.mar: No space left on device; nothing was changed"):
        write(target, source)
    assert target.read_bytes() == before
    assert sorted(path.name for path in disk.iterdir()) == ["fd1.mar", "fd1.mar.sha256"]
    assert used(disk) == taken
    source.write_bytes(os.urandom(1 << 20))
    write(target, source)  # there is room again
    assert target.read_bytes() != before


@pytest.mark.parametrize(
    "backend",
    ["openvino", *(pytest.param(name, marks=pytest.mark.slow) for name in ("onnx", "torchscript", "eager"))],
)
def test_repack_says_so_in_one_line_when_the_folder_of_temporary_files_is_full(
    disk: Path, tmp_path: Path, backend: str
) -> None:
    repack(disk, tmp_path / "store", "--backend", backend, TMPDIR=str(disk))
    assert not list(tmp_path.glob("store/*"))


@pytest.mark.slow
def test_repack_says_so_in_one_line_when_the_store_is_full(disk: Path) -> None:
    repack(disk, disk)


def repack(disk: Path, store: Path, *options: str, **variables: str) -> None:
    command = [sys.executable, "repack.py", "fd1", "--model", "centerface", "--out", str(store), *options]
    environment = {**os.environ, **variables}
    packed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    print(f"\n{packed.stderr.splitlines()[-1]}")
    assert packed.returncode == 1
    assert "Traceback" not in packed.stderr
    (line,) = [line for line in packed.stderr.splitlines() if line.startswith("repack: ")]
    assert "No space left on device" in line
    assert list(disk.iterdir()) == []

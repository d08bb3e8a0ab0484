"""Pictures in folders, archives, and the command on both."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pyarrow import parquet

from detserve.archives import archive
from detserve.bulk.command import main
from tests.harness.archives import Shelf

ROOT = Path(__file__).parents[2]
DEADLY = b"this picture ends the process that decodes it"


@pytest.fixture(scope="session")
def faces(astronaut: bytes, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four small JPEGs: with a face, mirrored, without one, and cut short."""
    folder = tmp_path_factory.mktemp("faces")
    whole = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR)
    small = cv2.resize(whole, (256, 256), interpolation=cv2.INTER_AREA)
    for name, picture in (("face", small), ("mirrored", small[:, ::-1]), ("none", small[192:, :64])):
        cv2.imwrite(str(folder / f"{name}.jpg"), picture)
    (folder / "short.jpg").write_bytes((folder / "face.jpg").read_bytes()[:4000])
    return sorted(folder.iterdir())


@pytest.fixture
def album(faces: list[Path], tmp_path: Path) -> Callable[[int], Path]:
    """Makes a folder of so many pictures in folders of fifty: links to the four."""

    def make(count: int) -> Path:
        top = tmp_path / "album"
        for number in range(count):
            folder = top / f"{number // 50:03}"
            folder.mkdir(parents=True, exist_ok=True)
            os.link(faces[number % len(faces)], folder / f"{number:05}.jpg")
        return top

    return make


@pytest.fixture(scope="session")
def fd1(shelf: Shelf) -> Path:
    """The archive of faces."""
    return shelf.get("fd1")


@pytest.fixture(scope="session")
def deadly(fd1: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fd1 with other code inside: its process is killed by a picture that ends on DEADLY."""
    kill = f"    import os\n    if bytes(data).endswith({DEADLY!r}):\n        os.kill(os.getpid(), 9)\n"
    return with_code(fd1, tmp_path_factory.mktemp("deadly"), "worker/encoded.py", "    wants_depth = ", kill)


def with_code(fd1: Path, folder: Path, module: str, line: str, before: str) -> Path:
    """Version 2.0 of fd1, with other code before the line of one of its modules."""
    with zipfile.ZipFile(fd1) as mar:
        mar.extractall(folder / "inside")
    changed = folder / "inside/detserve" / module
    code = changed.read_text("utf-8")
    assert code.count(line) == 1
    changed.write_text(code.replace(line, before + line), "utf-8")
    made = archive.read(fd1)
    files = {name: folder / "inside" / name for name in made.files if name.startswith(("detserve/", "engine/", "pict"))}
    path = folder / "fd1.mar"
    archive.write(path, made.name, "2.0", made.handler, made.recipe, files)
    return path


@dataclass(frozen=True)
class Bulk:
    """`bulk.py` into one folder."""

    archive: Path
    out: Path

    def arguments(self, *given: Any) -> list[str]:
        return [*map(str, given), "--archive", str(self.archive), "--out", str(self.out), "--processes", "2"]

    def __call__(self, *given: Any) -> int:
        """Run it in this process, its workers in theirs → exit status."""
        return main(self.arguments(*given))

    def start(self, *given: Any, **options: Any) -> subprocess.Popen[str]:
        """Run it in a process of its own."""
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, str(ROOT / "bulk.py"), *self.arguments(*given)], **pipes | options)

    def rows(self) -> list[dict[str, Any]]:
        """All rows, in the order of their paths."""
        rows = [row for path in self.out.glob("part-*.parquet") for row in parquet.read_table(path).to_pylist()]
        return sorted(rows, key=lambda row: (row["path"], row["version"]))

    def sizes(self) -> list[int]:
        """How many rows each shard has."""
        return [parquet.read_metadata(path).num_rows for path in self.out.glob("part-*.parquet")]

    def answers(self) -> list[dict[str, Any]]:
        """The rows without the milliseconds, which differ from run to run."""
        return [{name: value for name, value in row.items() if name != "ms"} for row in self.rows()]

    def left_over(self) -> list[str]:
        """What lies in the folder beside the shards."""
        return [path.name for path in self.out.iterdir() if not path.name.startswith("part-")]


@pytest.fixture
def bulk(fd1: Path, tmp_path: Path) -> Bulk:
    return Bulk(fd1, tmp_path / "rows")

"""Archives that an older detserve packed: this one loads their engines, and serves them with the code inside them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from detserve.archives import archive
from detserve.archives.verify import verify
from detserve.core.detections import Detections
from detserve.engines.base import Device
from detserve.options import Options
from detserve.worker.loading import load_pipeline
from tests.harness.server import serving

ROOT = Path(__file__).parents[2]
COMMIT = "0385645"
"""The last one before the rooms."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store that the code of that commit packed."""
    folder = tmp_path_factory.mktemp("old")
    tree = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=False)
    if tree.returncode:
        pytest.skip(f"this checkout has no commit {COMMIT} to pack with: {tree.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", folder], input=tree.stdout, check=True)
    for name in ("fd1", "ocr1"):
        command = [sys.executable, "repack.py", name, "--size", "320", "--out", folder / "store"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "store"


@pytest.mark.slow
@pytest.mark.e2e
def test_their_engines_load_in_process(store: Path, astronaut: bytes, tmp_path: Path) -> None:
    for name in ("fd1", "ocr1"):
        verify(store / f"{name}.mar")
        recipe = archive.read(store / f"{name}.mar").recipe
        with zipfile.ZipFile(store / f"{name}.mar") as mar:
            mar.extractall(tmp_path / name)
        pipeline = load_pipeline(recipe, tmp_path / name, Device())
        (result,) = pipeline([(astronaut, Options.parse({}, pipeline.spec, recipe.options))])
        assert isinstance(result.outcome, Detections)
        assert len(result.outcome) == (1 if name == "fd1" else 0)


@pytest.mark.slow
@pytest.mark.e2e
def test_they_are_served_with_the_code_inside_them(
    store: Path, astronaut: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with serving(store, tmp_path_factory.mktemp("run"), "--workers", "1") as server:
        (face,) = server.predict("fd1", astronaut).json()
        assert face["conf"] > 0.8
        page = server.predict("ocr1", astronaut)
        assert (page.status_code, page.headers["X-Model"]) == (200, "ocr1/1.0")

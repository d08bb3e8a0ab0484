"""No backend runs a pickle when it loads an archive: neither its own files nor such as were put in their place."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import torch

from detserve.pack.packer import ModelChoice, PackRequest, pack

BACKENDS = ("openvino", "onnx", "torchscript", "eager")
SOME = [pytest.param(name, marks=[] if name == "openvino" else pytest.mark.slow) for name in BACKENDS]
"""One of them in `make test`."""
LOAD = """
import sys
classes = []
sys.addaudithook(lambda event, arguments: classes.append(arguments) if event == "pickle.find_class" else None)
import pickle
pickle.loads(pickle.dumps(sys.exit))  # the hook works
assert len(classes) == 1, classes
classes.clear()
import os
import yaml
from pathlib import Path
from detserve.engines.base import Device
from detserve.archives.recipe import Recipe
from detserve.worker.loading import load_pipeline
for folder in sys.argv[1:]:
    os.chdir(folder)
    recipe = Recipe.of_archive(yaml.safe_load(Path("fd1.yaml").read_text()))
    try:
        load_pipeline(recipe, Path(folder), Device())
        print("loaded")
    except Exception as error:
        print("refused")
    assert classes == [], (folder, classes)
"""


class Poison:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.marker,)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("archives")
    model = ModelChoice(model="centerface", settings={"size": (128, 128)})
    return {name: pack(PackRequest(name="fd1", detect=model, backend=name, out=folder / name)) for name in BACKENDS}


@pytest.fixture
def unpacked(request: pytest.FixtureRequest, archives: dict[str, Path], tmp_path: Path) -> Path:
    with zipfile.ZipFile(archives[request.param]) as mar:
        mar.extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked"


def load(*folders: Path) -> list[str]:
    """What becomes of each of these unpacked archives, in one process: "loaded" or "refused"."""
    command = [sys.executable, "-c", LOAD, *folders]
    ended = subprocess.run(command, cwd=folders[0], capture_output=True, text=True, errors="replace", timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


def engine_files(folder: Path) -> list[Path]:
    return [path for path in (folder / "engine").rglob("*") if path.is_file()]


@pytest.mark.parametrize("unpacked", SOME, indirect=True)
def test_an_archive_is_loaded_without_unpickling_a_class(unpacked: Path) -> None:
    assert load(unpacked) == ["loaded"]


def poisons(marker: Path) -> dict[str, bytes]:
    """The poison as a plain pickle, and as both formats of torch.save."""
    found = {f"protocol {each}": pickle.dumps(Poison(marker), each) for each in (0, 2, 4)}
    for name, new in (("torch.save", True), ("torch.save of old", False)):
        buffer = BytesIO()
        torch.save({"weights": Poison(marker)}, buffer, _use_new_zipfile_serialization=new)
        found[name] = buffer.getvalue()
    return found


@pytest.mark.parametrize("unpacked", SOME, indirect=True)
def test_a_poisoned_engine_is_refused_and_not_run(unpacked: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    folders = []
    for kind, data in poisons(marker).items():
        folders.append(tmp_path / kind.replace(" ", "-"))
        shutil.copytree(unpacked, folders[-1])
        for path in engine_files(folders[-1]):
            path.write_bytes(data)
    assert load(*folders) == ["refused"] * len(folders)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("unpacked", "member"),
    [("torchscript", "data.pkl"), ("torchscript", "constants.pkl"), ("eager", "data.pkl")],
    indirect=["unpacked"],
)
def test_a_poisoned_pickle_inside_an_engine_of_pytorch_is_not_run(unpacked: Path, member: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (path,) = engine_files(unpacked)
    with zipfile.ZipFile(path) as engine:
        files = {name: engine.read(name) for name in engine.namelist()}
    (hit,) = [name for name in files if name.endswith(f"/{member}")]
    with zipfile.ZipFile(path, "w") as engine:
        for name, content in files.items():
            engine.writestr(name, pickle.dumps(Poison(marker), 2) if name == hit else content)
    assert load(unpacked) == ["refused"]
    assert not marker.exists()


def test_the_poison_works(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for kind, data in poisons(marker).items():
        if kind.startswith("protocol"):
            pickle.loads(data)
        else:
            torch.load(BytesIO(data), weights_only=False)
        assert marker.exists(), kind
        marker.unlink()

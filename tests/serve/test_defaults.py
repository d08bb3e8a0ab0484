"""How a model is registered where nobody says so: by its engine, and by what the machine has."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from detserve import engines
from detserve.serve import defaults
from detserve.serve.lineup import Lineup
from detserve.serve.model_config import Registration

ROOT = Path(__file__).parents[2]
CPU, GPU = Registration(), Registration(workers=2, batch_size=16, max_batch_delay=2)


def archive(folder: Path, backend: str) -> Path:
    with zipfile.ZipFile(folder / "fd1.mar", "w") as mar:
        mar.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": {"modelName": "fd1", "configFile": "fd1.yaml"}}))
        mar.writestr("fd1.yaml", f"detserve:\n  detect:\n    backend: {backend}\n")
    return folder / "fd1.mar"


@pytest.mark.parametrize(
    ("gpus", "backend", "wanted"),
    [
        (0, "tensorrt", CPU),
        (1, "openvino", CPU),
        (1, "tensorrt", GPU),
        (1, "torchscript", GPU),
        (4, "tensorrt", Registration(workers=8, batch_size=16, max_batch_delay=2)),
    ],
)
def test_an_engine_for_a_gpu_gets_few_workers_and_large_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, backend: str, wanted: Registration
) -> None:
    monkeypatch.setattr(defaults, "gpus", lambda: gpus)
    assert defaults.registration(archive(tmp_path, backend)) == wanted


def test_the_backends_of_a_gpu_are_those_whose_engines_run_on_it() -> None:
    """TorchServe's side names them, so that it need not import their runtimes."""
    assert {name for name in engines.ADAPTERS if engines._adapter(name).for_gpus} == defaults.ON_GPU


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_what_is_no_archive_of_ours_has_the_usual_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(defaults, "gpus", lambda: 1)
    (tmp_path / "fd1.mar").write_bytes(content)
    assert defaults.registration(tmp_path / "fd1.mar") == CPU


def test_the_yaml_and_the_command_line_overrule_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "gpus", lambda: 1)
    path = archive(tmp_path, "tensorrt")
    lineup = Lineup()
    lineup.add(path, ROOT / "config", {})
    assert lineup.models["fd1"] == GPU, "config/fd1.yaml leaves it open"
    (tmp_path / "fd1.yaml").write_text("serve: {batch_size: 4}")
    lineup.add(path, tmp_path, {"workers": 3})
    assert lineup.models["fd1"] == Registration(workers=3, batch_size=4, max_batch_delay=2)


def test_serving_imports_nothing_heavy() -> None:
    code = "import sys, detserve.serve.command; print([n for n in ('torch', 'numpy', 'cv2') if n in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stdout == "[]\n"

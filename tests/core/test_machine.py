"""What a machine has, told without torch."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from detserve.core.machine import cores, gpus


@pytest.fixture(autouse=True)
def ask_anew() -> Iterator[None]:
    gpus.cache_clear()
    yield
    gpus.cache_clear()


def smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An nvidia-smi of that shell script, and nothing else, on the PATH."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_gpus_are_what_nvidia_smi_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path, "echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'\necho 'GPU 1: NVIDIA H200 (UUID: GPU-2)'", monkeypatch)
    assert gpus() == 2


@pytest.mark.parametrize("script", ["echo 'No devices were found'", "echo 'GPU 0: broken'; exit 9"])
def test_a_driver_that_does_not_answer_has_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    smi(tmp_path, script, monkeypatch)
    assert gpus() == 0


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    smi(tmp_path, "echo 'GPU 0: NVIDIA H200'", monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert gpus() == 0


def test_a_machine_without_nvidia_smi_has_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus() == 0


def test_there_is_a_core() -> None:
    assert cores() >= 1

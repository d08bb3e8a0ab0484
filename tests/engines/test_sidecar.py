"""What stands beside an engine, and what is said on a machine that it does not fit."""

from dataclasses import replace
from pathlib import Path

import pytest

from detserve.engines.shapes import Shape, Shapes
from detserve.engines.sidecar import Sidecar
from detserve.errors import BackendMissing

BUILT = Sidecar(
    gpu="Tesla T4",
    capability="7.5",
    tensorrt="10.9.0",
    torch2trt="0.5.0",
    torch="2.13.0",
    cuda="12.8",
    precision="fp16",
    conversion="torch2trt",
    shapes=Shapes(Shape(1, 320, 320), Shape(8, 320, 320), Shape(16, 320, 320)),
)


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    BUILT.write(tmp_path / "engine.json")
    assert Sidecar.read(tmp_path / "engine.json") == BUILT


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"shapes": {"least": [1]}}'])
def test_a_broken_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "engine.json").write_text(text)
    with pytest.raises(BackendMissing, match="pack it anew"):
        Sidecar.read(tmp_path / "engine.json")


def test_an_engine_runs_on_another_gpu_of_its_capability_and_under_another_torch() -> None:
    BUILT.check(replace(BUILT, gpu="NVIDIA GeForce RTX 2080", torch="2.14.0", cuda="13.0"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"gpu": "NVIDIA H200", "capability": "9.0"}, r"Tesla T4 .*7\.5.* and this is NVIDIA H200 .*9\.0"),
        ({"tensorrt": "10.10.0"}, r"TensorRT 10\.9\.0, and this is .* TensorRT 10\.10\.0"),
    ],
)
def test_a_machine_that_it_does_not_fit_is_named_with_what_to_do(change: dict[str, str], named: str) -> None:
    with pytest.raises(BackendMissing, match=named) as caught:
        BUILT.check(replace(BUILT, **change))
    assert "repack.py NAME --backend tensorrt" in str(caught.value)
    assert "\n" not in str(caught.value)

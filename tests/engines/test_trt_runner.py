"""The runner of TensorRT engines against a recording stand-in: the calls, their order, and every refusal."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from detserve.engines.trt_runner import LoadedEngine, Runner
from detserve.errors import BackendMissing, EngineRejected

STREAM = 77
PIXELS = {"kind": "uint8", "input": True, "least": [1, 4, 8, 3], "most": [8, 4, 8, 3]}
TENSORS = {
    "pixels": PIXELS,
    "heatmap": {"kind": "float32", "open": [-1, 1, 2, 2]},
    "scale": {"kind": "float16", "open": [-1, 2, 2, 2]},
}


@pytest.fixture(autouse=True)
def stream(tensorrt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=STREAM))


def written(folder: Path, outputs: tuple[str, ...] = ("heatmap", "scale"), **described: Any) -> Path:
    """An engine as torch2trt saves it."""
    engine = bytearray(json.dumps({"tensors": TENSORS} | described).encode())
    torch.save({"engine": engine, "input_names": ["pixels"], "output_names": list(outputs)}, folder / "engine.pth")
    return folder / "engine.pth"


def runner(folder: Path, **described: Any) -> Runner:
    return LoadedEngine.read(written(folder, **described)).runner()


def pixels(n: int) -> torch.Tensor:
    return torch.zeros(n, 4, 8, 3, dtype=torch.uint8)


def calls(run: Runner) -> list[str]:
    return [name for name, *_ in run.loaded.engine.calls]


def test_a_run_gives_every_tensor_its_shape_kind_and_address(tmp_path: Path) -> None:
    run = runner(tmp_path)
    x = pixels(3)
    outputs = run(x)
    assert [(tuple(each.shape), each.dtype) for each in outputs] == [
        ((3, 1, 2, 2), torch.float32),
        ((3, 2, 2, 2), torch.float16),
    ]
    assert run.loaded.engine.calls == [
        ("set_input_shape", "pixels", (3, 4, 8, 3)),
        ("infer_shapes",),
        ("set_tensor_address", "pixels", x.data_ptr()),
        ("set_tensor_address", "heatmap", outputs[0].data_ptr()),
        ("set_tensor_address", "scale", outputs[1].data_ptr()),
        ("execute_async_v3", STREAM),
    ]


def test_a_shape_is_told_once_and_outputs_are_new_each_time(tmp_path: Path) -> None:
    run = runner(tmp_path)
    first, second, other = run(pixels(2)), run(pixels(2)), run(pixels(5))
    assert calls(run).count("set_input_shape") == 2
    assert first[0].data_ptr() != second[0].data_ptr()
    assert len(other[0]) == 5


def test_what_lies_scattered_in_memory_is_gathered_first(tmp_path: Path) -> None:
    run = runner(tmp_path)
    scattered = pixels(4)[::2]
    run(scattered)
    ((_, _, address),) = [call for call in run.loaded.engine.calls if call[:2] == ("set_tensor_address", "pixels")]
    assert address != scattered.data_ptr()


def test_outputs_come_in_the_order_that_was_written(tmp_path: Path) -> None:
    run = LoadedEngine.read(written(tmp_path, ("scale", "heatmap"))).runner()
    assert [each.dtype for each in run(pixels(1))] == [torch.float16, torch.float32]


@pytest.mark.parametrize("call", ["set_input_shape", "infer_shapes", "set_tensor_address", "execute_async_v3"])
def test_whatever_tensorrt_refuses_is_an_error(tmp_path: Path, call: str) -> None:
    run = runner(tmp_path, refuses=call)
    with pytest.raises(RuntimeError, match="TensorRT refused "):
        run(pixels(2))
    assert calls(run)[-1] == call


def test_a_batch_outside_the_profile_is_an_error_and_the_next_one_runs(tmp_path: Path) -> None:
    run = runner(tmp_path)
    run(pixels(8))
    with pytest.raises(RuntimeError, match=r"refused an input of \[9, 4, 8, 3\]"):
        run(pixels(9))
    assert len(run(pixels(8))[0]) == 8


def test_an_output_whose_shape_stays_open_is_an_error(tmp_path: Path) -> None:
    tensors = TENSORS | {"scale": {"kind": "float16", "open": [-1, -2, 2, 2]}}
    with pytest.raises(RuntimeError, match="tell the outputs' shapes"):
        runner(tmp_path, tensors=tensors)(pixels(1))


def test_an_input_of_another_kind_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"takes torch.uint8, not torch.float32"):
        runner(tmp_path)(pixels(1).float())


def test_each_runner_has_a_context_of_its_own(tmp_path: Path) -> None:
    loaded = LoadedEngine.read(written(tmp_path, contexts=2))
    assert loaded.runner().context is not loaded.runner().context
    with pytest.raises(BackendMissing, match="want of GPU memory"):
        loaded.runner()


def test_what_tensorrt_cannot_read_is_refused(tmp_path: Path) -> None:
    torch.save({"engine": bytearray(9), "input_names": ["pixels"], "output_names": []}, tmp_path / "engine.pth")
    with pytest.raises(BackendMissing, match="cannot read the engine; pack it anew"):
        LoadedEngine.read(tmp_path / "engine.pth")


def test_an_engine_of_other_tensors_than_was_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineRejected, match="has the tensors pixels, heatmap, scale, not what"):
        LoadedEngine.read(written(tmp_path, ("heatmap",)))


def test_a_kind_of_number_that_torch_lacks_is_refused(tmp_path: Path) -> None:
    tensors = TENSORS | {"scale": {"kind": "int64", "open": [-1, 2]}}
    with pytest.raises(EngineRejected, match="int64, which PyTorch does not know"):
        LoadedEngine.read(written(tmp_path, tensors=tensors))

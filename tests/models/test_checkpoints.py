"""Checkpoints: what is read, what is refused, and that nothing in a file is ever run."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from detserve.errors import BadWeights
from detserve.models.checkpoints import load_strictly, read_state_dict


def network() -> nn.Module:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4), nn.SiLU())
    return nn.Sequential(nn.Conv2d(3, 4, 3), inner, nn.Upsample(scale_factor=2)).eval()


def failure(path: Path) -> str:
    """The message of the refusal of that file: one line that names it."""
    with pytest.raises(BadWeights) as caught:
        read_state_dict(path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    return list(found) == list(wanted) and all(torch.equal(found[key], wanted[key]) for key in wanted)


FORMS: dict[str, Callable[[nn.Module], object]] = {
    "plain": lambda net: net.state_dict(),
    "under state_dict": lambda net: {"epoch": 3, "state_dict": net.state_dict()},
    "under model": lambda net: {"epoch": 3, "model": net.state_dict(), "optimizer": None},
    "twice inside": lambda net: {"model": {"state_dict": net.state_dict()}},
    "of a parallel network": lambda net: {f"module.{key}": value for key, value in net.state_dict().items()},
    "a module": lambda net: net,
    "a module under model": lambda net: {"epoch": -1, "best_fitness": np.array([0.5]), "model": net},
    "a parallel module": lambda net: {"model": nn.DataParallel(net)},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_checkpoint_gives_the_same_tensors(form: str, tmp_path: Path) -> None:
    net = network()
    path = tmp_path / "weights.pt"
    torch.save(FORMS[form](net), path)
    found = read_state_dict(path)
    assert same(found, net.state_dict())
    assert not any(tensor.requires_grad for tensor in found.values())


@pytest.mark.parametrize("form", ["plain", "under state_dict"])
def test_the_format_before_zip_files_is_read(form: str, tmp_path: Path) -> None:
    net = network()
    path = tmp_path / "weights.pth"
    torch.save(FORMS[form](net), path, _use_new_zipfile_serialization=False)
    assert same(read_state_dict(path), net.state_dict())


def test_half_precision_becomes_float32_and_counters_stay(tmp_path: Path) -> None:
    net = network().half()
    path = tmp_path / "weights.pt"
    torch.save({"model": net}, path)
    found = read_state_dict(path)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32, torch.int64}
    assert same(found, network().half().float().state_dict())


def test_module_is_only_a_prefix_where_all_keys_have_it(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, path)
    assert list(read_state_dict(path)) == ["module.a", "b"]


def test_published_checkpoint_is_read_as_its_state_dict(shared: Path) -> None:
    found = read_state_dict(shared / "weights/yolov5n-0.5.pt")
    wanted = read_state_dict(shared / "weights/yolov5n-0.5.state_dict.pt")
    assert len(wanted) == 500
    # The plain file was made from the pickled one, whose halves are exact in float32.
    assert same(found, wanted)


def test_checkpoint_of_another_project_is_read_too(shared: Path) -> None:
    found = read_state_dict(shared / "weights/Final_Retinaface_mnet025.pth")
    assert "body.stage1.0.0.weight" in found


# Files that are no checkpoints


def test_missing_file(tmp_path: Path) -> None:
    assert "No such file" in failure(tmp_path / "absent.pt")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\xff\xd8\xff\xe0JFIF", b"<html>not found</html>" * 100])
def test_other_bytes(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    assert "no checkpoint of PyTorch, or a damaged one" in failure(path)


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_file(new_format: bool, part: float, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(network().state_dict(), buffer, _use_new_zipfile_serialization=new_format)
    path = tmp_path / "weights.pt"
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * part)])
    message = failure(path)
    assert "damaged" in message and "torch.save" in message


@pytest.mark.parametrize(
    "content", [[1, 2], torch.ones(3), {}, {"model": None}, {"epoch": 3}, {1: torch.ones(1)}], ids=repr
)
def test_pickles_without_weights(content: object, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    assert "holds no weights" in failure(path)


def test_a_checkpoint_inside_itself(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    loop: dict[str, object] = {}
    loop["model"] = loop
    torch.save(loop, path)
    assert "damaged" in failure(path)


# Hostile files


class Call:
    """Pickles to a call of that function."""

    def __init__(self, function: Callable[..., Any], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def write(path: str) -> None:
    Path(path).touch()


PAYLOADS: dict[str, tuple[Callable[[Path], Call], str]] = {
    "system": (lambda trace: Call(os.system, f"echo > '{trace}'"), r"(posix|nt)\.system"),
    "eval": (lambda trace: Call(builtins.eval, f"open({str(trace)!r}, 'w').close()"), r"eval"),
    "exec": (lambda trace: Call(builtins.exec, f"open({str(trace)!r}, 'w').close()"), r"exec"),
    "getattr": (lambda trace: Call(builtins.getattr, nn.Module, "load_state_dict"), r"getattr"),
    "torch function": (lambda trace: Call(torch.save, 1, str(trace)), r"torch\.serialization\.save"),
    "NumPy function": (lambda trace: Call(np.save, str(trace), 1), r"numpy\.save"),
}
PLACES: dict[str, Callable[[Call], object]] = {
    "alone": lambda call: call,
    "beside weights": lambda call: {"model": network().state_dict(), "note": call},
    "deep inside a module": lambda call: {"model": hide(network(), call)},
}


def hide(net: nn.Module, call: Call) -> nn.Module:
    net[1][0].note = {"a": [call]}  # type: ignore[index]
    return net


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("place", PLACES)
def test_calls_are_refused_by_name_and_not_made(payload: str, place: str, tmp_path: Path) -> None:
    make, name = PAYLOADS[payload]
    trace, path = tmp_path / "trace.npy", tmp_path / "weights.pt"
    torch.save(PLACES[place](make(trace)), path)
    with pytest.raises(BadWeights, match=rf"weights\.pt: refused, nothing was run: it asks for \S*{name}"):
        read_state_dict(path)
    assert not trace.exists()


@pytest.mark.parametrize("payload", sorted(set(PAYLOADS) - {"getattr"}))
def test_the_calls_of_these_tests_are_live(payload: str, tmp_path: Path) -> None:
    trace, path = tmp_path / "trace.npy", tmp_path / "weights.pt"
    torch.save(PAYLOADS[payload][0](trace), path)
    torch.load(path, weights_only=False)
    assert trace.exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_pickles_in_other_formats(protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    call = PAYLOADS["system"][0](trace)
    plain, old = tmp_path / "plain.pt", tmp_path / "old.pt"
    plain.write_bytes(pickle.dumps(call, protocol))
    torch.save(call, old, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    failure(plain)
    failure(old)
    assert not trace.exists()


def test_hostile_old_format_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save(PAYLOADS["system"][0](tmp_path / "trace"), path, _use_new_zipfile_serialization=False)
    assert f"{os.system.__module__}.system" in failure(path)
    assert not (tmp_path / "trace").exists()


def test_allowed_names_are_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of an allowed name whose pickle would run code, if the real class were there."""
    trace, path = tmp_path / "trace", tmp_path / "weights.pt"
    module = types.ModuleType("models.common")
    function = types.FunctionType(write.__code__, {"Path": Path}, "Conv")
    function.__module__ = "models.common"
    function.__qualname__ = "Conv"
    module.Conv = function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "models", types.ModuleType("models"))
    monkeypatch.setitem(sys.modules, "models.common", module)
    torch.save({"state_dict": network().state_dict(), "note": Call(function, str(trace))}, path)
    assert same(read_state_dict(path), network().state_dict())
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()


def test_what_one_file_names_is_not_allowed_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(network(), path)
    read_state_dict(path)
    with pytest.raises(pickle.UnpicklingError, match="Sequential"):
        torch.load(path, weights_only=True)


# Loading


def test_loading_copies_every_tensor() -> None:
    state = {key: tensor + 1 for key, tensor in network().state_dict().items()}
    net = network()
    load_strictly(net, state, Path("weights.pt"))
    assert same(net.state_dict(), state)


def test_counters_of_batch_norms_may_be_absent() -> None:
    state = {key: t + 1 for key, t in network().state_dict().items() if "num_batches" not in key}
    net = network()
    load_strictly(net, state, Path("weights.pt"))
    assert torch.equal(net.state_dict()["0.weight"], state["0.weight"])


def test_a_misfit_is_told_by_key_and_shape() -> None:
    state = network().state_dict()
    state["0.weight"] = torch.ones(2, 3)
    state["extra"] = torch.ones(1)
    del state["0.bias"], state["1.0.weight"]
    net = network()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(BadWeights) as caught:
        load_strictly(net, state, Path("folder/weights.pt"))
    assert str(caught.value) == (
        "folder/weights.pt: does not fit Sequential: 2 missing: 0.bias, 1.0.weight; 1 unexpected: extra; "
        "1 of another shape: 0.weight is [2, 3], wanted [4, 3, 3, 3]"
    )
    assert same(net.state_dict(), before)


def test_a_long_list_is_cut() -> None:
    with pytest.raises(BadWeights, match=r"7 missing: 0\.weight, 0\.bias, 1\.0\.weight, …; 1 unexpected: x$"):
        load_strictly(network(), {"x": torch.ones(1)}, Path("weights.pt"))


@pytest.mark.parametrize("kind", ["sparse", "meta"])
def test_tensors_that_cannot_be_copied(kind: str, tmp_path: Path) -> None:
    state = network().state_dict()
    state["0.bias"] = state["0.bias"].to_sparse() if kind == "sparse" else state["0.bias"].to("meta")
    path = tmp_path / "weights.pt"
    torch.save(state, path)
    with pytest.raises(BadWeights, match=r"weights\.pt: its tensors cannot be copied: .*0\.bias"):
        load_strictly(network(), read_state_dict(path), path)

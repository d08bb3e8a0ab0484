"""What the tests of all networks do with one: its keys, a checkpoint of its shape, a trace, the ONNX file of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from detserve.models.checkpoints import load_strictly, read_state_dict


def keys(module: nn.Module) -> list[list[object]]:
    """Name, shape and dtype of each tensor of the state dict, as the reference material lists them."""
    return [[k, list(t.shape), str(t.dtype).removeprefix("torch.")] for k, t in module.state_dict().items()]


def numbered(module: nn.Module) -> dict[str, Tensor]:
    """A state dict in which each tensor repeats one number of its own, so that the file of it is small."""
    state = module.state_dict().items()
    return {key: torch.tensor(i, dtype=tensor.dtype).expand(tensor.shape) for i, (key, tensor) in enumerate(state)}


def check_checkpoint(module: nn.Module, prefix: str, path: Path) -> None:
    """A checkpoint whose keys have that prefix loads, every tensor at its place."""
    wanted = numbered(module)
    torch.save({prefix + key: tensor for key, tensor in wanted.items()}, path)
    load_strictly(module, read_state_dict(path), path)
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in module.state_dict().items())


def trace(module: nn.Module, example: Tensor) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """The module as traced with that example."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit itself; tracer warnings stay errors
        traced: Callable[[Tensor], tuple[Tensor, ...]] = torch.jit.trace(module, example)  # type: ignore[no-untyped-call]
    return traced


def onnx_of(
    module: nn.Module, example: Tensor, free: Mapping[str, Mapping[int, str]], path: Path
) -> Callable[[Tensor], Sequence[np.ndarray]]:
    """The module as ONNX Runtime runs it, exported with that example: its input is x, the other keys of `free` are its
    outputs, and each has these axes free.
    """
    outputs = [name for name in free if name != "x"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module, (example,), path, input_names=["x"], output_names=outputs, dynamic_axes=free,
            dynamo=False, opset_version=17,
        )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    path.unlink()  # large, and pytest would keep it
    return lambda x: session.run(outputs, {"x": x.numpy()})

"""Checkpoints: weights in files that PyTorch wrote, read without running anything that such a file may ask for.

A checkpoint is a pickle, and a pickle is a program: it names functions to import and calls them. Here it is read by
torch.load(weights_only=True), whose unpickler imports nothing and calls nothing but a short list of its own: what
rebuilds tensors, their storages and dtypes, OrderedDict, set. It is preferred to an unpickler of our own because it
also checks on which objects the pickle sets state, reads the formats before and since PyTorch 1.6, and refuses
TorchScript archives. To it we add, for one call and only by name, the classes that published face detectors pickle
along with their weights. None of these is imported: one inert stand-in takes the place of all of them, and only
tensors are taken out of it.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from detserve.errors import BadWeights

STAND_INS = re.compile(
    # Modules of PyTorch, and those of the yolov5 projects.
    r"(torch\.nn\.modules|torch\.nn\.parallel|models)\.\w+\.\w+"
    # Numbers kept by NumPy: the best fitness of the training.
    r"|numpy\.(ndarray|dtype)|numpy\._?core\.multiarray\.(_reconstruct|scalar)"
)
"""Full names of the classes that a stand-in replaces."""
ADVICE = "fetch it again, or save the network's state_dict() with torch.save"
SHOWN = 3
"""How many keys a message names."""


class _StandIn:
    """Takes any arguments and any state, keeps the state, does nothing."""

    state: Any = None

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU; floating point as float32, all else as it is.

    The file may hold a state dict or a pickled module, at the top or under "state_dict" or "model". Where all keys have
    the prefix "module.", it is removed. Raises BadWeights when the file cannot be read, is no checkpoint, holds no
    tensors, or names anything that is no part of a network; that is not run.
    """
    try:
        with safe_globals(_stand_ins(path)):
            tensors = _tensors(torch.load(path, map_location="cpu", weights_only=True))
    except BadWeights:
        raise
    except OSError as error:
        raise BadWeights(f"{path}: cannot be read ({error.strerror})") from error
    # A damaged or hostile pickle can make the unpickler stumble in any way.
    except Exception as error:
        refused = re.search(r"GLOBAL ([\w.]*\w) ", str(error))
        if refused:
            raise refusal(path, [refused[1]]) from error
        cause = re.split(r"\. |\.?\n", str(error))[0] or type(error).__name__
        raise BadWeights(f"{path}: no checkpoint of PyTorch, or a damaged one ({cause}); {ADVICE}") from error
    if not tensors:
        raise BadWeights(f"{path}: holds no weights; {ADVICE}")
    return plain(tensors)


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating point as float32, without the prefix "module." where all keys have it."""
    prefix = "module." if all(key.startswith("module.") for key in tensors) else ""
    return {
        key.removeprefix(prefix): tensor.detach().float() if tensor.is_floating_point() else tensor
        for key, tensor in tensors.items()
    }


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy the tensors of the file `path` into the network: it must have exactly these, in these shapes.

    Raises BadWeights, naming the first tensors that are missing, unexpected or of another shape.
    """
    problem = mismatch(network, state)
    if problem:
        raise BadWeights(f"{path}: does not fit {type(network).__name__}: {problem}")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:  # tensors without values, sparse or quantised ones
        raise BadWeights(f"{path}: its tensors cannot be copied: {' '.join(str(error).split())}") from error


def mismatch(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """What keeps the tensors from being this network's state dict, on one line; empty when they fit."""
    return differences({key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}, state)


def differences(wanted: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor]) -> str:
    """What keeps the tensors from being those of the wanted names and shapes, on one line; empty when they fit."""
    # The counters of batch norms are absent before PyTorch 0.4.1. load_state_dict does without them, too.
    missing = [key for key in wanted if key not in state and not key.endswith(".num_batches_tracked")]
    unexpected = [key for key in state if key not in wanted]
    shapes = [
        f"{key} is {list(state[key].shape)}, wanted {list(shape)}"
        for key, shape in wanted.items()
        if key in state and state[key].shape != shape
    ]
    found = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    return "; ".join(f"{len(keys)} {fault}: {_first(keys)}" for fault, keys in found if keys)


def _stand_ins(path: Path) -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """What to add to the unpickler's list for this file. Raises BadWeights when it names something else."""
    # Only zip files, PyTorch's format since 1.6, list their names; in older ones whole modules are refused.
    names = get_unsafe_globals_in_checkpoint(str(path)) if zipfile.is_zipfile(path) else []
    refused = sorted(name for name in names if not STAND_INS.fullmatch(name))
    if refused:
        raise refusal(path, refused)
    return [(_StandIn, name) for name in names]


def refusal(path: Path, names: list[str]) -> BadWeights:
    """The error for a file that asks for those names."""
    return BadWeights(
        f"{path}: refused, nothing was run: it asks for {_first(names)}, which weights do not need; take them from a "
        "source that you trust, or save the network's state_dict() alone with torch.save"
    )


def _tensors(found: object) -> dict[str, Tensor]:
    """The tensors of an unpickled checkpoint: of a module, of a state dict, or of one inside."""
    if isinstance(found, _StandIn):
        return dict(_collect(found, ""))
    if not isinstance(found, dict):
        return {}
    for key in ("state_dict", "model"):
        if isinstance(found.get(key), dict | _StandIn):
            return _tensors(found[key])
    return {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Tensor)}


def _collect(module: _StandIn, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """The parameters and buffers of a module and of those inside it, named as in its state dict."""
    state = module.state
    for name, tensor in (*state["_parameters"].items(), *state["_buffers"].items()):
        if isinstance(tensor, Tensor):
            yield prefix + name, tensor
    for name, child in state["_modules"].items():
        if isinstance(child, _StandIn):
            yield from _collect(child, f"{prefix}{name}.")


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (", …" if len(keys) > SHOWN else "")

"""Arrays: checkpoints whose weights are arrays of NumPy, as detectron2 and its model zoo write them.

They are read as strictly as any other, see `checkpoints`: the pickle may ask for nothing but what makes an array. It is
the one thing there that is called by its own name, because only NumPy can fill an array from its bytes.
"""

from __future__ import annotations

import _codecs
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy._core.multiarray as multiarray
import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from detserve.errors import BadWeights
from detserve.models.checkpoints import ADVICE, plain, read_state_dict, refusal

_MAKERS: dict[str, Any] = {
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    **{f"numpy.{core}.multiarray.{name}": getattr(multiarray, name) for core in ("core", "_core")
       for name in ("_reconstruct", "scalar")},
    **{f"numpy.dtypes.{name}": getattr(np.dtypes, name) for name in ("Float32DType", "Float64DType", "Int64DType")},
    "_codecs.encode": _codecs.encode,
    "collections.OrderedDict": OrderedDict,
}  # fmt: skip
"""Full names of what arrays and dicts are made by, old and new."""
_ZIP, _OLD_TORCH = b"PK", b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""How files begin that torch.save wrote: since PyTorch 1.6, and before it behind two bytes of pickle."""


def read_arrays(path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint by name as `read_state_dict` gives them, be they tensors or arrays.

    The file is one of torch.save, or a plain pickle as the model zoo's .pkl; the weights are the whole of it or under
    "model". Raises BadWeights when it cannot be read or asks for anything that arrays do not need; that is not run.
    """
    try:
        with path.open("rb") as file:
            start = file.read(16)
        if not start.startswith(_ZIP) and _OLD_TORCH not in start:
            return _tensors(path, _unpickle(path))
        if zipfile.is_zipfile(path) and not _names(path) & _MAKERS.keys():
            return read_state_dict(path)
        allowed: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
            (maker, name) for name, maker in _MAKERS.items()
        ]
        with safe_globals(allowed):
            return _tensors(path, torch.load(path, map_location="cpu", weights_only=True))
    except BadWeights:
        raise
    except OSError as error:
        raise BadWeights(f"{path}: cannot be read ({error.strerror})") from error
    # A damaged or hostile pickle can make an unpickler stumble in any way.
    except Exception as error:
        if refused := re.search(r"GLOBAL ([\w.]*\w) ", str(error)):  # files before PyTorch 1.6 list no names beforehand
            raise refusal(path, [refused[1]]) from error
        raise BadWeights(f"{path}: no checkpoint, or a damaged one ({type(error).__name__}); {ADVICE}") from error


def _names(path: Path) -> set[str]:
    """What a file of torch.save asks for. Raises BadWeights when it is for more than arrays need."""
    names = set(get_unsafe_globals_in_checkpoint(str(path)))
    arrays = {name for name in names if name.startswith(("numpy.", "_codecs."))}
    if arrays and names - _MAKERS.keys():
        raise refusal(path, sorted(names - _MAKERS.keys()))
    return names


def _unpickle(path: Path) -> object:
    class Restricted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if f"{module}.{name}" not in _MAKERS:
                raise refusal(path, [f"{module}.{name}"])
            return _MAKERS[f"{module}.{name}"]

    with path.open("rb") as file:
        return Restricted(file, encoding="latin1").load()  # the zoo's files are of Python 2's time


def _tensors(path: Path, found: object) -> dict[str, Tensor]:
    if isinstance(found, Mapping) and isinstance(found.get("blobs"), Mapping):
        found = found["blobs"]  # Caffe2's: refused by the names in it
    while isinstance(found, Mapping) and isinstance(found.get("model"), Mapping):
        found = found["model"]
    items = found.items() if isinstance(found, Mapping) else ()
    weights = {
        key: torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
        for key, value in items
        if isinstance(key, str) and (isinstance(value, Tensor) or _is_numeric(value))
    }
    if not weights:
        raise BadWeights(f"{path}: holds no weights; {ADVICE}")
    return plain(weights)


def _is_numeric(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiu"

"""The definition of a network: its layers, and the shapes that TensorRT infers of them. An open axis is None.

TensorRT works with the values of small integer tensors too, the shapes that a network computes from shapes; a -1 in
such a shape it resolves only when it knows all the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .enums import Member

Dims = list[int | None]


class Weights:
    """No weights, of a kind of number."""

    def __init__(self, kind: Any = None) -> None:
        self.kind = kind


class Tensor:
    """An input, or the output of a layer, whose shape is worked out when it is first asked for."""

    def __init__(self, dims: Dims | None = None, layer: Layer | None = None) -> None:
        self._dims, self._value, self.layer = dims, None, layer
        self.name, self.location, self.dtype = "", None, None

    def _infer(self) -> None:
        if self._dims is None:
            assert self.layer is not None
            rule = RULES.get(self.layer.kind)
            if rule is None:
                raise NotImplementedError(f"the stand-in does not know {self.layer.kind}")
            self._dims, self._value = rule(self.layer)

    @property
    def dims(self) -> Dims:
        self._infer()
        assert self._dims is not None
        return self._dims

    @property
    def value(self) -> Any:
        """The values of a small tensor of integers, each None where it is open; None for any other tensor."""
        self._infer()
        return self._value

    @property
    def shape(self) -> tuple[int, ...]:
        """As TensorRT shows it: -1 for an open axis."""
        return tuple(-1 if d is None else d for d in self.dims)


class Layer:
    """One layer: its arguments by name, what is set on it, and its one output."""

    def __init__(self, kind: str, arguments: tuple[Any, ...], named: dict[str, Any], problems: list[str]) -> None:
        self.kind, self.arguments, self.named, self.problems = kind, arguments, named, problems
        self.name, self.type = "", Member(kind)
        self.inputs: dict[int, Tensor] = {}
        self.output = Tensor(layer=self)

    def set_input(self, index: int, tensor: Tensor) -> None:
        self.inputs[index] = tensor

    def get_output(self, index: int) -> Tensor:
        return self.output

    def argument(self, name: str, index: int) -> Any:
        return self.named[name] if name in self.named else self.arguments[index]

    def setting(self, name: str, default: Any = None) -> Any:
        return self.__dict__.get(name, default)

    def sources(self) -> list[Tensor]:
        """All tensors that it takes."""
        given = [*self.arguments, *self.named.values(), *self.inputs.values()]
        flat = [each for one in given for each in (one if isinstance(one, list | tuple) else [one])]
        return [each for each in flat if isinstance(each, Tensor)]


class Network:
    """A network's definition. problems: what TensorRT would refuse, once `outputs` were looked at."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.problems: list[str] = []

    def add_input(self, name: str, shape: tuple[int, ...], dtype: Any) -> Tensor:
        self.inputs.append(Tensor([None if d == -1 else d for d in shape]))
        return self.inputs[-1]

    def mark_output(self, tensor: Tensor) -> None:
        self.outputs.append(tensor)

    def __getattr__(self, name: str) -> Callable[..., Layer]:
        if not name.startswith("add_"):
            raise AttributeError(name)
        return lambda *arguments, **named: Layer(name, arguments, named, self.problems)

    def infer(self) -> None:
        """Work out every shape that leads to an output."""
        seen: set[int] = set()
        waiting = list(self.outputs)
        while waiting:
            tensor = waiting.pop()
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            assert tensor.dims is not None
            if tensor.layer:
                waiting += tensor.layer.sources()


Inferred = tuple[Dims, Any]


def _constant(layer: Layer) -> Inferred:
    shape, weights = list(layer.argument("shape", 0)), np.asarray(layer.argument("weights", 1))
    small = weights.dtype.kind in "iu" and weights.size < 16
    return shape, [int(x) for x in weights.reshape(-1)] if small else None


def _shape(layer: Layer) -> Inferred:
    dims = layer.arguments[0].dims
    return [len(dims)], list(dims)


def _slice(layer: Layer) -> Inferred:
    tensor = layer.argument("input", 0)
    start, size = list(layer.argument("start", 1)), list(layer.argument("shape", 2))
    start = layer.inputs[1].value if 1 in layer.inputs else start
    size = layer.inputs[2].value if 2 in layer.inputs else size
    if tensor.value is None or len(tensor.dims) != 1:
        return list(size), None
    return list(size), tensor.value[start[0] : start[0] + size[0]]


def _concatenation(layer: Layer) -> Inferred:
    tensors, axis = layer.argument("inputs", 0), layer.setting("axis", 0)
    dims, lengths = list(tensors[0].dims), [tensor.dims[axis] for tensor in tensors]
    dims[axis] = None if None in lengths else sum(lengths)
    values = [tensor.value for tensor in tensors]
    return dims, None if None in values else [x for value in values for x in value]


_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "SUM": int.__add__,
    "SUB": int.__sub__,
    "PROD": int.__mul__,
    "FLOOR_DIV": int.__floordiv__,
}


def _elementwise(layer: Layer) -> Inferred:
    a, b = layer.arguments[:2]
    if len(a.dims) != len(b.dims):
        layer.problems.append(f"{layer.name}: {a.dims} and {b.dims} differ in rank")
    dims = [y if x == 1 else x if y == 1 or x is not None else y for x, y in zip(a.dims, b.dims, strict=False)]
    if a.value is None or b.value is None or len(dims) != 1:
        return dims, None
    compute = _ARITHMETIC[layer.argument("op", 2).name]
    return dims, [None if None in (x, y) else compute(x, y) for x, y in zip(a.value, b.value, strict=True)]


def _shuffle(layer: Layer) -> Inferred:
    dims = list(layer.argument("input", 0).dims)
    dims = [dims[i] for i in layer.setting("first_transpose", range(len(dims)))]
    wanted = layer.inputs[1].value if 1 in layer.inputs else layer.setting("reshape_dims")
    if wanted is not None:
        wanted = [dims[i] if x == 0 else x for i, x in enumerate(wanted)]
        if -1 in wanted:
            rest = [x for x in wanted if x != -1]
            whole = None if None in dims or None in rest else math.prod(dims) // math.prod(rest)
            wanted[wanted.index(-1)] = whole
        dims = wanted
    return [dims[i] for i in layer.setting("second_transpose", range(len(dims)))], None


def _convolution(layer: Layer) -> Inferred:
    dims, kernel = layer.named["input"].dims, layer.named["kernel"].shape
    groups = layer.setting("num_groups", 1)
    forward = layer.kind == "add_convolution_nd"
    if dims[1] is None:
        layer.problems.append(f"{layer.name}: channels are dynamic, {dims}")
    elif dims[1] != (kernel[1] * groups if forward else kernel[0]):
        layer.problems.append(f"{layer.name}: {dims[1]} channels for a kernel of {kernel}")
    sides: Dims = []
    settings = [layer.setting(name, (d, d)) for name, d in (("padding_nd", 0), ("stride_nd", 1), ("dilation_nd", 1))]
    for n, k, p, s, d in zip(dims[2:], kernel[2:], *settings, strict=True):
        if n is None:
            sides.append(None)
        else:
            sides.append((n + 2 * p - d * (k - 1) - 1) // s + 1 if forward else (n - 1) * s - 2 * p + k)
    return [dims[0], layer.named["num_output_maps"], *sides], None


def _pooling(layer: Layer) -> Inferred:
    dims, window = layer.named["input"].dims, layer.named["window_size"]
    padding, stride = layer.setting("padding_nd", (0, 0)), layer.setting("stride_nd", (1, 1))
    sides = [
        None if n is None else (n + 2 * p - w) // s + 1
        for n, w, p, s in zip(dims[2:], window, padding, stride, strict=True)
    ]
    return [*dims[:2], *sides], None


def _resize(layer: Layer) -> Inferred:
    dims = layer.argument("input", 0).dims
    return [None if n is None else int(n * scale) for n, scale in zip(dims, layer.setting("scales"), strict=True)], None


def _same(layer: Layer) -> Inferred:
    return list(layer.argument("input", 0).dims), None


def _reduce(layer: Layer) -> Inferred:
    tensor, _, axes, keep = layer.arguments[:4]
    return [1 if axes >> i & 1 else n for i, n in enumerate(tensor.dims) if keep or not axes >> i & 1], None


def _matrix_multiply(layer: Layer) -> Inferred:
    a, _, b, operation = layer.arguments[:4]
    return [*a.dims[:-1], b.dims[-2 if operation.name == "TRANSPOSE" else -1]], None


RULES: dict[str, Callable[[Layer], Inferred]] = {
    "add_constant": _constant,
    "add_shape": _shape,
    "add_slice": _slice,
    "add_concatenation": _concatenation,
    "add_elementwise": _elementwise,
    "add_shuffle": _shuffle,
    "add_convolution_nd": _convolution,
    "add_deconvolution_nd": _convolution,
    "add_pooling_nd": _pooling,
    "add_resize": _resize,
    "add_reduce": _reduce,
    "add_matrix_multiply": _matrix_multiply,
    **dict.fromkeys(("add_activation", "add_scale_nd", "add_unary", "add_softmax", "add_identity"), _same),
}

"""Runner: a TensorRT engine run through TensorRT's own API, with a look at everything that a call returns.

torch2trt's TRTModule runs engines too, but passes over what `set_input_shape` and `execute_async_v3` return: where one
of them refuses, the outputs are whatever the memory held before, and a CUDA graph is recorded with nothing in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from detserve.errors import BackendMissing, EngineRejected

if TYPE_CHECKING:
    import torch
    from torch import Tensor

KINDS = ("float32", "float16", "int32", "int8", "uint8", "bool")
"""The kinds of number that both TensorRT and PyTorch have, by the name that both give them."""


@dataclass(frozen=True)
class LoadedEngine:
    """An engine on the current GPU.

    input, outputs: names of its tensors; takes, gives: their kinds; runtime: what made it. TensorRT wants that, and the
    logger behind it, to live as long as the engine.
    """

    engine: Any
    input: str
    outputs: tuple[str, ...]
    takes: torch.dtype
    gives: tuple[torch.dtype, ...]
    runtime: Any

    @classmethod
    def read(cls, path: Path) -> Self:
        """From the state dict of a TRTModule. Nothing but tensors and plain values is unpickled.

        Raises BackendMissing where TensorRT cannot read it, EngineRejected where it is not whole or has several inputs.
        """
        import tensorrt as trt
        import torch

        state = torch.load(path, weights_only=True)
        runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        engine = runtime.deserialize_cuda_engine(state["engine"])
        if engine is None:
            raise BackendMissing(f"TensorRT {trt.__version__} cannot read the engine; pack it anew on this GPU")
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        outputs = tuple(state["output_names"])
        if inputs != list(state["input_names"]) or len(inputs) != 1 or {*inputs, *outputs} != {*names}:
            raise EngineRejected(f"the engine has the tensors {', '.join(names)}, not what was written beside it")
        takes, *gives = (_kind(engine.get_tensor_dtype(name)) for name in (*inputs, *outputs))
        return cls(engine, inputs[0], outputs, takes, tuple(gives), runtime)

    def runner(self) -> Runner:
        """One that runs it in an execution context of its own. Raises BackendMissing where there is no memory."""
        context = self.engine.create_execution_context()
        if context is None:
            raise BackendMissing(
                "TensorRT got no execution context, most likely for want of GPU memory; "
                "serve with fewer --workers, or pack with a smaller --max-batch"
            )
        return Runner(self, context)


class Runner:
    """An engine in one execution context. Not for several threads at once."""

    def __init__(self, loaded: LoadedEngine, context: Any) -> None:
        self.loaded, self.context = loaded, context
        self.shape: tuple[int, ...] | None = None
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Run the engine on the current stream: its input, of the kind `takes`, on the GPU → its outputs there.

        Raises RuntimeError when TensorRT refuses anything, ValueError for an input of another kind.
        """
        import torch

        if x.dtype != self.loaded.takes:
            raise ValueError(f"the engine takes {self.loaded.takes}, not {x.dtype}")
        x = x.contiguous()
        self._prepare(tuple(x.shape))
        outputs = tuple(
            torch.empty(shape, dtype=kind, device=x.device)
            for shape, kind in zip(self.shapes, self.loaded.gives, strict=True)
        )
        names = (self.loaded.input, *self.loaded.outputs)
        for name, tensor in zip(names, (x, *outputs), strict=True):
            self._check(self.context.set_tensor_address(name, tensor.data_ptr()), f"the address of {name}")
        stream = torch.cuda.current_stream(x.device).cuda_stream
        self._check(self.context.execute_async_v3(stream), f"a run of {list(x.shape)}")
        return outputs

    def _prepare(self, shape: tuple[int, ...]) -> None:
        """Tell TensorRT the input's shape where it is not that of the last run, and learn the outputs'."""
        if shape == self.shape:
            return
        self.shape = None  # until all of it has been taken
        self._check(self.context.set_input_shape(self.loaded.input, shape), f"an input of {list(shape)}")
        self._check(not self.context.infer_shapes(), f"the shapes that follow from {list(shape)}")
        self.shapes = [tuple(self.context.get_tensor_shape(name)) for name in self.loaded.outputs]
        self._check(min(map(min, self.shapes)) >= 0, f"to tell the outputs' shapes, {self.shapes}")
        self.shape = shape

    def _check(self, taken: bool, what: str) -> None:
        if not taken:
            raise RuntimeError(f"TensorRT refused {what}; its own words stand on stderr")


def _kind(kind: Any) -> torch.dtype:
    """TensorRT's kind of number as PyTorch's."""
    import tensorrt as trt
    import torch

    for name in KINDS:
        if kind == getattr(trt, name):
            found: torch.dtype = getattr(torch, name)
            return found
    raise EngineRejected(f"the engine has a tensor of {kind}, which PyTorch does not know; pack it anew")

"""Where a network's milliseconds go: its layers on OpenVINO, by kind and by size of map, with their arithmetic.

.venv/bin/python -m benchmarks.layers [model_store/fd1.mar] [--size 320x320]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detserve.archives.recipe import ENGINE_FOLDER
from detserve.bench.engine import packed
from detserve.bench.report import align
from detserve.engines.openvino import FILE
from detserve.engines.sources import runtimes
from detserve.errors import SetupError

CALLS = 50
WARM_UP = 10


@dataclass(frozen=True)
class Layer:
    """One operation as it runs. kind: what it is and how it computes; size: of its output, "80x80"; ms: of a call;
    macs: multiplications with addition, in millions."""

    kind: str
    size: str
    ms: float
    macs: float


def layers(network: Path, size: tuple[int, int]) -> Iterator[Layer]:
    """The layers of an OpenVINO network at that (width, height), on one thread, in its own precision."""
    openvino = runtimes.openvino()
    core = openvino.Core()
    model = core.read_model(network)
    shape = [1, size[1], size[0], 3]
    model.reshape(shape)
    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False, "PERF_COUNT": True}
    compiled = core.compile_model(model, "CPU", options)
    request = compiled.create_infer_request()
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    times: dict[str, list[float]] = defaultdict(list)
    for call in range(WARM_UP + CALLS):
        request.infer({0: pixels})
        if call >= WARM_UP:
            for each in request.profiling_info:
                times[each.node_name].append(each.real_time.total_seconds() * 1000)
    for operation in compiled.get_runtime_model().get_ops():
        if ms := times.get(operation.get_friendly_name()):
            yield _layer(operation, statistics.median(ms))


def _layer(operation: Any, ms: float) -> Layer:
    info = operation.get_rt_info()
    kind, how = (
        str(info[key].value if hasattr(info[key], "value") else info[key]) for key in ("layerType", "primitiveType")
    )
    shape = list(operation.get_output_partial_shape(0).to_shape())
    macs = 0.0
    if kind in ("Convolution", "GroupConvolution") and operation.get_input_size() > 1:
        weights = list(operation.get_input_partial_shape(1).to_shape())
        macs = float(np.prod(weights) * np.prod(shape[2:])) / 1e6
        kind += " " + "x".join(map(str, weights[-2:]))
    return Layer(f"{kind} {how}", "x".join(map(str, shape[2:])), ms, macs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each kind of layer and size of map, the slowest first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", type=Path, default=Path("model_store/fd1.mar"), help="(fd1)")
    parser.add_argument("--size", default="320x320", metavar="WxH", help="of the input (320x320)")
    options = parser.parse_args(arguments)
    width, _, height = options.size.partition("x")
    try:
        with packed(options.archive) as target:
            found = list(layers(target.folder / ENGINE_FOLDER / "detect" / FILE, (int(width), int(height))))
    except (SetupError, OSError, ValueError) as error:
        print(f"layers: {error}", file=sys.stderr)
        return 1
    groups: dict[tuple[str, str], list[Layer]] = defaultdict(list)
    for layer in found:
        groups[layer.kind, layer.size].append(layer)
    rows = [["layers", "map", "n", "ms", "million MACs", "GMAC/s"]]
    for (kind, size), each in sorted(groups.items(), key=lambda item: -sum(layer.ms for layer in item[1])):
        ms, macs = sum(layer.ms for layer in each), sum(layer.macs for layer in each)
        rows.append([kind, size, str(len(each)), f"{ms:.2f}", f"{macs:.1f}", f"{macs / ms:.0f}" if macs else ""])
    print(align(rows))
    print(f"{sum(layer.ms for layer in found):.2f} ms, {sum(layer.macs for layer in found):.0f} million MACs")
    return 0


if __name__ == "__main__":
    sys.exit(main())

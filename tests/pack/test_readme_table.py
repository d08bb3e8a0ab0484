"""The table of models and backends in docs/models.md, walked: a tick is built and run, where none is it says why."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from detserve import engines, models
from detserve.engines import sources
from detserve.engines.base import Device, EnginePlan
from detserve.engines.parts import PartedEngines, PartedSource
from detserve.errors import BackendMissing
from detserve.models.maskrcnn import MaskRcnn, names
from detserve.models.parts import PartedSpec
from detserve.models.spec import ModelSpec, NetworkSpec, ReaderSpec, TextSpec
from detserve.pack.weights import locate

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")


def table() -> dict[str, dict[str, bool]]:
    """Model → backend → whether the page says that they go together."""
    head, _, *rows = re.findall(r"^\|(.*)\|$", PAGE[PAGE.index("| model | weights |") :], re.MULTILINE)
    names = [cell.strip() for cell in head.split("|")][4:]
    found = {}
    for row in rows:
        cells = [cell.strip() for cell in row.split("|")]
        if len(cells) != len(names) + 4:
            break
        found[re.findall(r"`(.*?)`", cells[0])[0]] = {n: c == "✓" for n, c in zip(names, cells[4:], strict=True)}
    return found


TABLE = table()


def test_the_table_names_every_model_and_every_backend() -> None:
    assert set(TABLE) == set(models.catalogue())
    assert all(set(row) == set(engines.ADAPTERS) for row in TABLE.values())


def tensorflow_like(path: Path) -> Path:
    """An ONNX file of the form of OpenCV's EAST: NHWC in, score and geometry out, at a quarter of the size."""
    kernel = np.random.default_rng(0).normal(0, 0.01, (6, 3, 4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["image"], ["planar"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planar", "kernel"], ["maps"], strides=[4, 4]),
        helper.make_node("Sigmoid", ["maps"], ["squashed"]),
        helper.make_node("Transpose", ["squashed"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Split", ["last"], ["score", "geometry"], axis=3, split=[1, 5]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "east",
        [value("image", TensorProto.FLOAT, [None, None, None, 3])],
        [value("score", TensorProto.FLOAT, None), value("geometry", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def weight_files(spec: ModelSpec, folder: Path) -> list[Path]:
    """The model's own file; for users' models, the right form with weights by chance."""
    if spec.weights.origin.startswith("package:"):
        return [locate(spec.weights.origin)]
    if not isinstance(spec, NetworkSpec):
        return [tensorflow_like(folder / "east.onnx")]
    torch.manual_seed(0)
    network = spec.architecture()
    parts = {"craft-refined": ["craft", "refine"], "none-resnet-none-ctc": ["reader"]}.get(spec.name, [""])
    for part in parts:
        torch.save(network.get_submodule(part).state_dict(), folder / f"{part or spec.name}.pth")
    return [folder / f"{part or spec.name}.pth" for part in parts]


def example(spec: ModelSpec) -> np.ndarray:
    """A batch of two inputs of a modest size, uint8 [2, h, w, 3]."""
    width, height = (160, 48 if isinstance(spec, ReaderSpec) else 96) if spec.dynamic else spec.size
    return np.random.default_rng(1).integers(0, 256, (2, height, width, 3), dtype=np.uint8)


WHOLE = [name for name in TABLE if not isinstance(models.find(name), PartedSpec)]
PARTED = [name for name in TABLE if name not in WHOLE]


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTED)
def test_each_network_of_a_model_of_several_runs_like_its_reference(name: str, tmp_path: Path) -> None:
    spec = models.find(name)
    assert isinstance(spec, PartedSpec)
    spec = spec.override(size=(96, 96), min_size=64, max_size=96)
    weights = tmp_path / "weights.pth"
    random_checkpoint(spec, weights)
    source, plan = PartedSource(spec, weights), EnginePlan(precision="fp32", max_batch=2)
    random = np.random.default_rng(1)
    for backend, runs in TABLE[name].items():
        if backend not in engines.available():
            assert not runs, "what has a tick must run everywhere"
            continue
        assert runs
        source.build(engines.find(backend), plan, tmp_path / backend)
        found = PartedEngines(engines.find(backend), tmp_path / backend, spec, plan, Device(threads=2))
        for part, network in source.run.items():
            form = found.engines[part].spec.example(1 if part == "features" else 3)
            inputs = torch.from_numpy(random.integers(0, 255, form.shape).astype(form.dtype))
            with torch.inference_mode():
                for got, wanted in zip(found.run[part](inputs), network(inputs), strict=True):
                    assert (got - wanted).abs().max() <= 1e-3 * wanted.abs().max(), (backend, part)
                    if backend in ("eager", "torchscript"):
                        assert torch.equal(got, wanted), (backend, part)


def random_checkpoint(spec: PartedSpec, path: Path) -> None:
    """Weights by chance under the names of the reference, small enough that what comes out is finite."""
    assert isinstance(spec, MaskRcnn)
    with torch.device("meta"):
        networks = {part: each.architecture() for part, each in spec.parts().items()}
    torch.manual_seed(0)
    shapes = names.wanted(networks, spec.rules, spec.stem)
    state = {key: torch.randn(shape) / max(1, int(np.prod(shape[1:]))) ** 0.5 for key, shape in shapes.items()}
    torch.save({k: v.abs() + 0.5 if k.endswith(("running_var", "_std")) else v for k, v in state.items()}, path)


LARGE = (
    "east-vgg16",
    "yolov5n-face",
    "yolov5s-face",
    "yolov5m-face",
    "yolov5l-face",
    "craft",
    "craft-refined",
    "none-resnet-none-ctc",
)
"""What takes longest, left to `make test-all`. Of CRAFT and of None-ResNet-None-CTC `make test` walks nothing here."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in WHOLE]
)
def test_what_has_a_tick_runs_like_its_reference_and_what_has_none_says_why(name: str, tmp_path: Path) -> None:
    spec = models.find(name)
    if isinstance(spec, TextSpec):
        spec = spec.override(size=(320, 320))  # what an engine is warmed up with
    elif not spec.dynamic and not isinstance(spec, ReaderSpec):
        spec = spec.override(size=(96, 64))
    files = weight_files(spec, tmp_path)
    spec = spec.with_file_metadata(*files)
    source, pixels = sources.of(spec, *files), example(spec)
    reference = source.reference(pixels)
    plan = EnginePlan(precision="fp32", max_batch=2)
    for backend, runs in TABLE[name].items():
        folder = tmp_path / backend
        folder.mkdir()
        if backend not in engines.available():
            assert not runs, "what has a tick must run everywhere"
            with pytest.raises(BackendMissing, match="this machine lacks"):
                engines.find(backend)
            continue
        adapter = engines.find(backend)
        if not runs:
            with pytest.raises(BackendMissing, match=f"{name} is an ONNX file, which {backend} cannot run"):
                adapter.build(source, plan, folder)
            continue
        adapter.build(source, plan, folder)
        outputs = adapter(folder, spec, plan, Device())(pixels)
        for output, values in reference.items():
            scale = np.abs(values).max()
            if output == "best":  # The index of a class: equal, but where two are equally likely.
                assert (outputs[output] == values).mean() > 0.9, (backend, output)
            else:
                assert np.abs(outputs[output] - values).max() <= 1e-3 * scale, (backend, output)

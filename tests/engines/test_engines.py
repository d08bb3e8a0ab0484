"""All backends against each other, on one network with an answer that can be worked out by hand."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detserve import engines, models
from detserve.core.detections import Detections
from detserve.engines.base import INT8, Device, Engine, EnginePlan
from detserve.engines.onnx import Onnx
from detserve.engines.sources.network import Preprocessed
from detserve.errors import BackendMissing, BadSpec
from detserve.models.spec import DetectorSpec, NetworkSpec, Outputs, TextSpec, Weights

ROOT = Path(__file__).parents[2]


class Halves(nn.Module):
    """The first channel, and the mean of each picture: outputs that tell order, scale and position apart."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x[:, :1] * self.gain, x.mean(dim=(1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class HalvesSpec(NetworkSpec, DetectorSpec):
    def architecture(self) -> nn.Module:
        return Halves()

    def load_weights(self, network: nn.Module, *paths: Path) -> None:
        pass

    def decode(self, outputs: Outputs, conf: Sequence[float]) -> list[Detections]:
        return [Detections.empty() for _ in conf]


SPEC = HalvesSpec(
    name="halves",
    task="face",
    weights=Weights(origin="none", licence="CC0-1.0"),
    outputs=("first", "mean"),
    size=(64, 32),
    mean=(10.0, 20.0, 30.0),
    std=(2.0, 4.0, 8.0),
    channels="BGR",
)
PIXELS = np.random.default_rng(0).integers(0, 256, (11, 32, 64, 3), dtype=np.uint8)


def expected(pixels: np.ndarray) -> dict[str, np.ndarray]:
    x = (pixels[..., ::-1].astype(np.float64) - SPEC.mean) / SPEC.std
    return {"first": 2 * x[..., 0][:, None], "mean": x.mean(axis=(1, 2, 3))}


def build(
    name: str,
    folder: Path,
    spec: NetworkSpec = SPEC,
    precision: str = "fp32",
    max_batch: int = 4,
    device: Device = Device(),  # noqa: B008, frozen
) -> Engine:
    adapter = engines.find(name)
    plan = EnginePlan(precision=precision, max_batch=max_batch)
    folder.mkdir(exist_ok=True)
    adapter.build(Preprocessed(spec.architecture(), spec), plan, folder)
    return adapter(folder, spec, plan, device)


@pytest.fixture(scope="module", params=engines.available())
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return build(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("n", [1, 3, 4, 5, 11])
def test_a_batch_of_any_size_gives_what_the_arithmetic_says(engine: Engine, n: int) -> None:
    outputs = engine(PIXELS[:n])
    for name, values in expected(PIXELS[:n]).items():
        assert outputs[name].dtype == np.float32
        assert outputs[name] == pytest.approx(values, rel=1e-5, abs=1e-4), name


def test_an_input_that_is_drawn_anew_is_computed_anew(engine: Engine) -> None:
    """Runtimes may remember where an input lies, never what lay there."""
    mine, other = (np.full((1, *SPEC.input_shape), value, np.uint8) for value in (40, 90))
    first = {value: engine(np.full_like(mine, value))["first"] for value in (40, 90, 200)}
    for batch, value in ((mine, 40), (mine, 200), (other, 90), (mine, 40)):
        batch[...] = value
        np.testing.assert_array_equal(engine(batch, lend=True)["first"], first[value])


def test_outputs_outlive_the_next_call(engine: Engine) -> None:
    first = engine(PIXELS[:1])["first"]
    before = first.copy()
    engine(PIXELS[1:2])
    assert (first == before).all()


class Pyramid(nn.Module):
    """Each pixel plus what lies around it, by way of a quarter of the size: sizes are where a trace goes wrong."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        coarse = F.max_pool2d(F.max_pool2d(x, 2), 2)
        wide = F.interpolate(coarse, size=x.shape[2:], mode="bilinear", align_corners=False)
        return (x[:, 0] + wide[:, 1], coarse.mean(dim=(1, 2, 3)))


@dataclass(frozen=True, kw_only=True)
class PyramidSpec(HalvesSpec, TextSpec):
    def architecture(self) -> nn.Module:
        return Pyramid()


@pytest.mark.parametrize("name", [name for name in engines.available() if name != "tensorrt"])
def test_an_engine_with_open_sides_is_right_at_sizes_that_it_was_not_traced_with(name: str, tmp_path: Path) -> None:
    weights = Weights(origin="none", licence="CC0-1.0")
    spec = PyramidSpec(name="pyramid", task="text", weights=weights, outputs=("near", "mean"), size=(640, 640))
    assert Preprocessed(spec.architecture(), spec).example().shape == (2, 320, 320, 3)
    engine = build(name, tmp_path, spec, device=Device(threads=2))
    for height, width in ((96, 160), (320, 320), (640, 352), (32, 640), (640, 640)):
        pixels = np.random.default_rng(1).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
        outputs, wanted = engine(pixels), Preprocessed(spec.architecture(), spec).reference(pixels)
        for output, values in wanted.items():
            np.testing.assert_allclose(outputs[output], values, 1e-4, 1e-2, err_msg=f"{output} {height} {width}")
    torch.set_num_threads(1)


@pytest.mark.parametrize("bad", [PIXELS[:, :16], PIXELS[0], PIXELS.astype(np.float32)])
def test_a_batch_of_another_shape_or_kind_is_refused(engine: Engine, bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"takes uint8 \[n, height, width, 3\] of 64x32"):
        engine(bad)


# TorchScript counts its classes in each process: tests/pack/test_repack.py packs with it in two. No two builds of
# TensorRT's are the same.
@pytest.mark.parametrize("name", [name for name in engines.available() if name not in ("torchscript", "tensorrt")])
def test_the_same_network_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        build(name, tmp_path / folder)
    files = [{p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()} for folder in ("a", "b")]
    assert files[0] == files[1]


@pytest.mark.parametrize("precision", [p for p in engines.find("openvino").precisions if p not in ("fp32", INT8)])
def test_openvino_computes_in_less_than_fp32(precision: str, tmp_path: Path) -> None:
    outputs = build("openvino", tmp_path, precision=precision)(PIXELS[:2])
    for name, values in expected(PIXELS[:2]).items():
        assert outputs[name] == pytest.approx(values, rel=0.02, abs=1), name


def test_openvino_says_what_it_computes_in(tmp_path: Path) -> None:
    """Of "auto", what this processor has."""
    found = {}
    for precision in ("fp32", "auto"):
        plan = EnginePlan(precision=precision, max_batch=4)
        found[precision] = build("openvino", tmp_path / precision, precision=precision).computes_in(plan)
    has_bf16 = {"avx512_bf16", "amx_bf16"} & set(Path("/proc/cpuinfo").read_text().split())
    assert found == {"fp32": "fp32", "auto": "bf16" if has_bf16 else "fp32"}


def test_auto_takes_the_fastest_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        assert engines.find("auto").name == "openvino"
    monkeypatch.setattr(engines.find("openvino"), "missing", classmethod(lambda cls: "gone"))
    assert engines.find("auto").name != "openvino"


def test_auto_on_a_gpu_takes_what_can_run_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TensorRT torch is the fastest there, but it runs no ONNX files."""
    monkeypatch.setattr("detserve.engines.torch_device.gpu_count", lambda: 1)
    monkeypatch.setattr(engines.find("onnx"), "on_gpu", classmethod(lambda cls: False))
    assert engines.find("auto", models.find("centerface")).name == "torchscript"
    assert engines.find("auto", models.find("ppocrv6-small-det")).name == "openvino"


def test_onnx_runtime_that_falls_back_to_the_processor_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Onnx, "on_gpu", classmethod(lambda cls: True))
    Onnx.build(Preprocessed(SPEC.architecture(), SPEC), EnginePlan(precision="fp32", max_batch=2), tmp_path)
    session = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"], get_inputs=lambda: [SPEC])
    runtime = SimpleNamespace(
        SessionOptions=SimpleNamespace, InferenceSession=lambda *_, **__: session, GraphOptimizationLevel=None
    )
    monkeypatch.setattr("detserve.engines.onnx.runtimes.onnxruntime", lambda: runtime)
    with pytest.raises(BackendMissing, match="ONNX Runtime cannot use this GPU"):
        Onnx(tmp_path, SPEC, EnginePlan(precision="fp32", max_batch=2), Device(gpu=0))


def test_a_backend_that_is_not_there_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, package in [("openvino", "openvino", "--no-deps openvino"), ("onnx", "onnx", "onnxruntime")]:
        monkeypatch.setattr(f"detserve.engines.{module}.find_spec", lambda _: None)
        with pytest.raises(BackendMissing, match=f"pip install {package}"):
            engines.find(name)
    with pytest.raises(BackendMissing, match="there are auto, tensorrt, openvino, onnx"):
        engines.find("tensorflow")


def test_a_batch_of_none_cannot_be_planned() -> None:
    with pytest.raises(BadSpec, match="at least 1"):
        EnginePlan(precision="fp32", max_batch=0)
    with pytest.raises(BadSpec, match="between 1 and the largest, 4, not 5"):
        EnginePlan(precision="fp32", max_batch=4, opt_batch=5)
    assert EnginePlan(precision="fp32", max_batch=4).opt_batch == 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("name", ["eager", "torchscript"])
def test_half_precision_of_torch_wants_a_gpu(name: str, tmp_path: Path) -> None:
    with pytest.raises(BackendMissing, match="fp16 wants an NVIDIA GPU"):
        build(name, tmp_path, precision="fp16")


def test_no_runtime_leaves_a_trace_in_the_home(tmp_path: Path) -> None:
    """Two of them would keep an id there, for reports to their vendors."""
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "from detserve.engines.sources import runtimes; runtimes.onnxruntime().get_device(); runtimes.openvino().Core()"
    )
    left_out = ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    subprocess.run([sys.executable, "-c", code], env=environment | {"HOME": str(home)}, check=True, cwd=ROOT)
    assert list(home.rglob("*")) == []

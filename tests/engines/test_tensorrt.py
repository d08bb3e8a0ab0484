"""The backend of NVIDIA's GPUs: what it says where there is none, and, on a GPU, engines against their networks."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from detserve import engines, models
from detserve.engines.base import Device, EnginePlan
from detserve.engines.sources.network import Preprocessed
from detserve.engines.tensorrt import TensorRT, conversion
from detserve.errors import BackendMissing, BadSpec, EngineRejected
from detserve.models.spec import DetectorSpec, NetworkSpec
from detserve.pack.parity import EXACT, REDUCED, measure
from detserve.pack.weights import locate
from detserve.pictures.decode import decode

LACK = TensorRT.missing()
needs_tensorrt = [pytest.mark.gpu, pytest.mark.skipif(LACK is not None, reason=f"TensorRT: {LACK}")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_all_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(BackendMissing) as caught:
        engines.find("tensorrt")
    message = str(caught.value)
    assert "NVIDIA GPU" in message
    assert ("torch2trt" in message.partition(";")[0]) == (importlib.util.find_spec("torch2trt") is None)
    assert "requirements/install.sh .venv tensorrt" in message
    assert "\n" not in message


@pytest.mark.skipif(LACK is None, reason="TensorRT runs here")
def test_auto_passes_over_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert engines.find("auto").name != "tensorrt"
    assert capfd.readouterr() == ("", "")


def test_the_way_of_conversion_is_a_setting_of_the_model() -> None:
    spec = models.find("yolov5n-face")
    assert conversion(spec) == "torch2trt"
    assert conversion(spec.override(conversion="onnx")) == "onnx"
    assert conversion(models.find("ppocrv6-small-det")) == "onnx"
    with pytest.raises(BadSpec, match="conversion must be torch2trt or onnx"):
        spec.override(conversion="magic")


def test_it_computes_in_fp16_unless_told_otherwise() -> None:
    assert TensorRT.precisions[0] == "fp16"


def test_a_broken_tensorrt_is_a_lack(tensorrt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended "auto" with an ImportError, although there are other backends."""
    monkeypatch.setattr("detserve.engines.tensorrt.gpu_count", lambda: 1)
    monkeypatch.setattr("detserve.engines.tensorrt.find_spec", lambda name: name)
    assert TensorRT.missing() is None
    monkeypatch.setattr(tensorrt, "__version__", "8.4.1.5")
    assert "must be 8.5 or later and before 11, not 8.4" in str(TensorRT.missing())
    monkeypatch.delattr(tensorrt, "__version__")
    assert "cannot be loaded" in str(TensorRT.missing())


def test_a_worker_without_a_gpu_is_told_so_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(BackendMissing, match="was given no GPU"):
        TensorRT(tmp_path, models.find("centerface"), EnginePlan(precision="fp32", max_batch=1), Device())


def built(spec: DetectorSpec, weights: Path, folder: Path, precision: str, max_batch: int = 8) -> tuple:
    assert isinstance(spec, NetworkSpec)
    source = Preprocessed(spec.network(weights), spec)
    plan = EnginePlan(precision=precision, max_batch=max_batch)
    TensorRT.build(source, plan, folder)
    return source, plan, TensorRT(folder, spec, plan, Device(gpu=0))


class TestOnAGpu:
    pytestmark = needs_tensorrt

    @pytest.mark.parametrize("way", ["torch2trt", "onnx"])
    @pytest.mark.parametrize(("precision", "bounds"), [("fp32", EXACT), ("fp16", REDUCED)])
    def test_an_engine_agrees_with_its_network(self, astronaut, tmp_path, way, precision, bounds) -> None:
        spec = models.find("centerface").override(conversion=way)
        assert isinstance(spec, DetectorSpec)
        source, plan, engine = built(spec, locate(spec.weights.origin), tmp_path, precision)
        measure(source, engine, astronaut, plan).check(bounds)

    def test_the_sidecar_of_another_gpu_is_refused(self, tmp_path: Path) -> None:
        spec = models.find("centerface")
        assert isinstance(spec, DetectorSpec)
        _, plan, _ = built(spec, locate(spec.weights.origin), tmp_path, "fp16", 2)
        path = tmp_path / "engine.json"
        path.write_text(path.read_text().replace('"capability": "', '"capability": "1'))
        with pytest.raises(BackendMissing, match="pack it anew here"):
            TensorRT(tmp_path, spec, plan, Device(gpu=0))

    def test_an_engine_that_cannot_be_read_is_refused(self, tmp_path: Path) -> None:
        spec = models.find("centerface")
        assert isinstance(spec, DetectorSpec)
        _, plan, _ = built(spec, locate(spec.weights.origin), tmp_path, "fp16", 2)
        state = torch.load(tmp_path / "engine.pth", weights_only=True)
        state["engine"] = bytearray(len(state["engine"]))
        torch.save(state, tmp_path / "engine.pth")
        with pytest.raises(BackendMissing, match="cannot read the engine"):
            TensorRT(tmp_path, spec, plan, Device(gpu=0))

    def test_what_the_parser_cannot_read_is_refused_in_its_own_words(self, tmp_path: Path) -> None:
        class Odd(Preprocessed):
            def export(self, path: Path) -> None:
                path.write_bytes(b"no graph")

        spec = models.find("centerface").override(conversion="onnx")
        assert isinstance(spec, NetworkSpec)
        source = Odd(spec.network(locate(spec.weights.origin)), spec)
        with pytest.raises(EngineRejected, match="cannot parse centerface"):
            TensorRT.build(source, EnginePlan(precision="fp32", max_batch=1), tmp_path)

    def test_one_batch_does_not_change_another(self, astronaut: bytes, tmp_path: Path) -> None:
        spec = models.find("centerface")
        assert isinstance(spec, DetectorSpec)
        _, _, engine = built(spec, locate(spec.weights.origin), tmp_path, "fp16")
        image = decode(astronaut)
        canvas = np.empty((320, 320, 3), np.uint8)
        spec.letterbox(image.size).apply(image.rgb, canvas, spec.fill)
        alone = engine(canvas[None])["heatmap"][0]
        for n in (8, 3, 17, 1):
            rows = engine(np.repeat(canvas[None], n, axis=0))["heatmap"]
            assert np.abs(rows - alone).max() < 0.02

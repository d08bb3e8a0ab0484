"""The packer as a command."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from detserve import models
from detserve.archives import archive
from detserve.pack import command as repack

ROOT = Path(__file__).parents[2]


def run(*arguments: str | Path, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "repack.py", *arguments]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "torchscript"])
def test_two_runs_write_the_same_bytes(tmp_path: Path, backend: str) -> None:
    for folder, seed in (("a", "1"), ("b", "2")):
        ended = run("fd1", "--size", "128", "--backend", backend, "--out", tmp_path / folder, hash_seed=seed)
        assert ended.returncode == 0, ended.stderr
        assert "Parity(" in ended.stderr
    assert (tmp_path / "a/fd1.mar").read_bytes() == (tmp_path / "b/fd1.mar").read_bytes()


def test_options_reach_the_archive_and_show_tells_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--size", "128x96", "--conf", "0.4", "--iou", "0.2", "--max-batch", "3", "--version", "2.1"]
    assert repack.main(["faces", "--model", "centerface", "--precision", "fp32", *options, "--out", str(tmp_path)]) == 0
    found = archive.read(tmp_path / "faces.mar")
    part = found.recipe.detect
    spec = part.spec()
    assert (found.name, found.version, found.handler) == ("faces", "2.1", "picture_handler.py")
    assert (spec.size, spec.conf, spec.iou) == ((128, 96), 0.4, 0.2)
    assert (part.plan.precision, part.plan.max_batch) == ("fp32", 3)
    assert part.weights_sha256 == models.find("centerface").weights.sha256
    assert part.parity["raw"] < 1e-3
    capsys.readouterr()
    assert repack.main(["--show", str(tmp_path / "faces.mar")]) == 0
    shown = capsys.readouterr().out
    for word in (
        "faces/2.1",
        "picture_handler.py",
        "backend: openvino",
        "precision: fp32",
        "parity:",
        "engine/detect/network.bin",
    ):
        assert word in shown


def test_an_archive_is_self_contained(tmp_path: Path) -> None:
    """It holds the handler, all of detserve, and the engine; unpacked elsewhere, it imports from there."""
    assert repack.main(["fd1", "--size", "128", "--out", str(tmp_path)]) == 0
    with zipfile.ZipFile(tmp_path / "fd1.mar") as mar:
        mar.extractall(tmp_path / "unpacked")
    code = "import picture_handler, detserve; print(detserve.__file__, picture_handler.Handler.__base__.__module__)"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "unpacked", capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == [str(tmp_path / "unpacked/detserve/__init__.py"), "detserve.worker.handler"]


def test_the_list_names_every_model_with_licence_and_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    assert repack.main(["--list"]) == 0
    listed = capsys.readouterr().out
    for name, spec in models.catalogue().items():
        for word in (name, spec.weights.origin, spec.weights.licence, spec.weights.accuracy):
            assert word in listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fd1", "--size", "321"], "multiples of 16"),
        (["fd1", "--model", "nothing"], "no model 'nothing'"),
        (["fd1", "--backend", "nothing"], "no backend 'nothing'"),
        (["fd1", "--precision", "fp8"], "it has auto, fp32"),
        (["fd1", "--precision", "int8"], "--precision int8 needs --calibration DIR"),
        (["fd1", "--calibration", "."], "--calibration is for --precision int8, not auto"),
        (["fd1", "--precision", "int8", "--backend", "onnx", "--calibration", "."], "onnx has no precision 'int8'"),
        (["fd1", "--precision", "int8", "--calibration", "absent"], "no picture at absent"),
        (["fd1", "--precision", "int8", "--calibration", "docs/faces.jpg"], "at least 10 are needed"),
        (["fd1", "--max-batch", "0"], "at least 1"),
        (["fd1", "--sha256", "0" * 64], "is not the file that was asked for"),
        (["fd1", "--weights", "absent.onnx"], "absent.onnx"),
        (["fd1", "--weights", __file__, "--sha256", "1" * 64], "is not the file that was asked for"),
        (["fd1", "--weights", __file__], "not an ONNX file"),
        (["fd1", "--model", "yolov5s-face"], "needs --weights"),
        (["fd1", "--trt", "1"], "backend tensorrt: this machine lacks an NVIDIA GPU"),
        (["fd1", "--int8"], "--precision int8 needs --calibration DIR"),
        (["fd1", "--trt", "0", "--fp16", "1"], "torchscript: fp16 wants an NVIDIA GPU"),
        (["other"], "--model is needed"),
        (["td1", "--size", "3200"], "320 to 2560 pixels"),
        (["td1", "--size", "640x320"], "must be a square"),
        (["td1", "--backend", "eager"], "is an ONNX file, which eager cannot run"),
        (["td1", "--model", "ppocrv6-small-rec"], "name it as --reader"),
        (["fd1", "--reader", "ppocrv6-small-rec"], "do not go together"),
        (["td1", "--model", "craft-refined", "--weights", "one.pth"], "takes 2 weight file(s)"),
        (["fd1", "--set", "fill"], "--set wants KEY=VALUE"),
        (["fd1", "--set", "filling=3"], "did you mean 'fill'"),
        (["fd1", "--set", "max_detections=20000"], "max_detections must lie between 1 and 10000"),
        (["--show", "absent.mar"], "absent.mar"),
    ],
)
def test_what_does_not_hold_ends_with_one_line_and_writes_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert repack.main([*arguments, "--out", str(tmp_path)]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("repack: ")]
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("detect: banana", "fd1: detect must be on or off, not 'banana'"),
        ("rotate: on", "fd1: rotate must be off or auto, not 'on'"),
        ("size: large", "size must be N or WxH in pixels, not 'large'"),
        ("detect: 3", "fd1.yaml: detect must be a word, not 3"),
    ],
)
def test_a_file_of_what_every_request_would_be_refused_for_packs_nothing(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fd1.yaml").write_text(f"pack:\n  model: centerface\n  {line}\n")
    monkeypatch.setattr(repack, "CONFIG_DIR", tmp_path)
    assert repack.main(["fd1", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"repack: {message}\n"
    assert not (tmp_path / "out").exists()


def test_an_engine_that_disagrees_is_refused_with_its_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is built from other weights than those that it is checked against."""
    from detserve.engines.onnx import Onnx

    build = Onnx.build

    def disturbed(source, plan, folder, calibration) -> None:
        import copy

        other = copy.deepcopy(source)
        other.network.heads[0].bias.data[1:3] += 0.2  # the sizes
        build(other, plan, folder)

    monkeypatch.setattr(Onnx, "build", staticmethod(disturbed))
    assert repack.main(["fd1", "--backend", "onnx", "--size", "256", "--out", str(tmp_path)]) == 1
    assert "raw outputs differ by" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_old_spellings_still_work(tmp_path: Path) -> None:
    assert repack.main(["fd1", "--trt", "0", "--size", "128", "--out", str(tmp_path)]) == 0
    assert archive.read(tmp_path / "fd1.mar").recipe.detect.backend == "torchscript"
    assert repack.main(["fd1", "--fp16", "1", "--size", "128", "--out", str(tmp_path)]) == 0
    assert archive.read(tmp_path / "fd1.mar").recipe.detect.plan.precision == "fp16"


@pytest.mark.parametrize("arguments", [[], ["fd1", "--size", "big"], ["fd1", "--trt", "2"]])
def test_a_faulty_command_line_explains_itself(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        repack.main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.slow
def test_options_of_reading_reach_the_archive(tmp_path: Path) -> None:
    options = ["--split", "words", "--detect", "off", "--set", "unclip=1.8", "--set", "threshold=0.25", "--size", "640"]
    assert repack.main(["ocr1", *options, "--out", str(tmp_path)]) == 0
    recipe = archive.read(tmp_path / "ocr1.mar").recipe
    assert recipe.options == {"split": "words", "detect": "off"}
    assert (recipe.detect.settings["unclip"], recipe.detect.settings["threshold"]) == (1.8, 0.25)
    assert recipe.detect.spec().size == (640, 640)
    assert recipe.read is not None and recipe.read.settings["alphabet"].endswith(" ")


def test_a_face_models_weights_given_to_craft_are_refused_by_name(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = shared / "weights/yolov5n-0.5.state_dict.pt"
    assert repack.main(["td2", "--model", "craft", "--weights", str(weights), "--out", str(tmp_path)]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("repack: ")]
    assert "yolov5n-0.5.state_dict.pt" in line
    assert "missing: basenet.slice1.0.weight" in line
    assert "unexpected: model.0.stem_1.conv.weight" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_users_checkpoints_are_packed_for_every_backend(shared: Path, tmp_path: Path) -> None:
    from detserve import engines

    for backend in engines.available():
        weights = shared / "weights/yolov5n-0.5.pt"
        options = [
            "--model",
            "yolov5n-0.5-face",
            "--weights",
            str(weights),
            "--backend",
            backend,
            "--precision",
            "fp32",
        ]
        assert repack.main(["yf", *options, "--size", "256", "--out", str(tmp_path)]) == 0
        assert archive.read(tmp_path / "yf.mar").recipe.detect.parity["detections"] == 1


@pytest.mark.parametrize("detect", ["off", "'off'"])
def test_a_choice_in_yaml_may_be_a_truth_value(detect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """YAML reads a bare `off` as false."""
    (tmp_path / "lines.yaml").write_text(
        f"pack: {{model: ppocrv6-small-det, reader: x, detect: {detect}, split: words}}"
    )
    monkeypatch.setattr(repack, "CONFIG_DIR", tmp_path)
    assert repack.request(repack.parse(["lines"])).options == {"detect": "off", "split": "words"}

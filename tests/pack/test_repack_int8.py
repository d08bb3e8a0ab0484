"""The packer as a command, for engines in int8."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from detserve.archives import archive
from detserve.engines.calibration import Calibration
from detserve.pack import command as repack
from detserve.pack.weights import locate
from tests.pack.test_repack import run

ROOT = Path(__file__).parents[2]
SMALL = ("--size", "256", "--precision", "int8", "--calibration")


@pytest.mark.usefixtures("nncf")
@pytest.mark.slow
def test_two_runs_write_the_same_bytes_smaller_and_with_their_figures(portraits: Path, tmp_path: Path) -> None:
    assert repack.main(["fd1", "--size", "256", "--precision", "fp32", "--out", str(tmp_path)]) == 0
    for folder, seed in (("a", "1"), ("b", "2")):
        ended = run("fd1", *SMALL, portraits, "--out", tmp_path / folder, hash_seed=seed)
        assert ended.returncode == 0, ended.stderr
        assert "wrote" in ended.stdout and len(ended.stdout.splitlines()) == 1, "NNCF's progress is not ours"
        lines = ended.stderr.splitlines()
        head = lines.index("  12 detections of the network on 12 pictures:")
        assert lines[head + 1].split() == ["recall", "precision", "iou", "conf", "points"]
        assert [line.split()[0] for line in lines[head + 2 :]] == ["fp32", "int8"]
    assert (tmp_path / "a/fd1.mar").read_bytes() == (tmp_path / "b/fd1.mar").read_bytes()
    exact, small = archive.read(tmp_path / "fd1.mar"), archive.read(tmp_path / "a/fd1.mar")
    weights = "engine/detect/network.bin"
    assert small.files[weights] < exact.files[weights] / 2
    figures = small.recipe.detect.parity
    assert (figures["pictures"], figures["detections"]) == (12, 12)
    assert figures["recall"] == figures["precision"] == 1.0
    assert 0.9 < figures["iou"] < 1
    assert small.recipe.detect.plan.precision == "int8"


@pytest.mark.usefixtures("nncf")
@pytest.mark.slow
def test_nothing_is_left_in_the_home_and_nothing_reported(portraits: Path, tmp_path: Path) -> None:
    """Also where the package is that NNCF would report its use by: it must not even be loaded."""
    home, packages = tmp_path / "home", tmp_path / "packages"
    home.mkdir()
    packages.mkdir()
    (packages / "openvino_telemetry.py").write_text("from pathlib import Path\n(Path.home() / 'id').write_text('me')\n")
    left_out = ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    command = [sys.executable, "repack.py", "fd1", *SMALL, portraits, "--out", tmp_path / "store"]
    subprocess.run(
        command,
        env=environment | {"HOME": str(home), "PYTHONPATH": str(packages)},
        check=True,
        cwd=ROOT,
        timeout=200,
    )
    assert list(home.rglob("*")) == []


@pytest.mark.slow
@pytest.mark.usefixtures("nncf")
def test_an_engine_calibrated_on_other_pictures_is_refused(
    portraits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from detserve.engines.openvino import OpenVINO

    build = OpenVINO.build

    class Dark(Calibration):
        def canvas(self, picture, spec):
            return super().canvas(picture, spec) // 8

    def mistaken(source, plan, folder, calibration=None) -> None:
        build(source, plan, folder, calibration and Dark(calibration.pictures))

    monkeypatch.setattr(OpenVINO, "build", staticmethod(mistaken))
    assert repack.main(["fd1", *SMALL, str(portraits), "--out", str(tmp_path / "store")]) == 1
    assert "of the network's detections (wanted 9" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("nncf")
@pytest.mark.slow
def test_text_is_found_in_int8_and_read_in_floats(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    page = cv2.imread(str(locate("package:skimage/data/page.png")))
    for i in range(10):
        cv2.imwrite(str(pages / f"{i}.png"), page[10 * i : 10 * i + 100])
    options = ["--precision", "int8", "--calibration", str(pages), "--size", "320", "--out", str(tmp_path)]
    assert repack.main(["ocr1", *options]) == 0
    recipe = archive.read(tmp_path / "ocr1.mar").recipe
    assert recipe.read is not None
    assert (recipe.detect.plan.precision, recipe.read.plan.precision) == ("int8", "auto")
    assert recipe.detect.parity["recall"] > 0.85
    assert "recall" not in recipe.read.parity


def test_without_its_package_the_file_to_install_is_named(
    portraits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    assert repack.main(["fd1", *SMALL, str(portraits), "--out", str(tmp_path / "store")]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("repack: ")]
    assert line.endswith("int8 needs the package 'nncf': pip install --no-deps -r requirements/int8.txt")
    assert not (tmp_path / "store").exists()

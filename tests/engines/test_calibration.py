"""Pictures for int8: which are taken, and that they lie on the input as the served ones do."""

from pathlib import Path

import numpy as np
import pytest

from detserve import engines, models
from detserve.engines import calibration, sources
from detserve.engines.base import Device, Engine, EnginePlan
from detserve.engines.calibration import Calibration
from detserve.errors import SetupError
from detserve.models.spec import DetectorSpec
from detserve.options import Options
from detserve.pack.weights import locate
from detserve.worker.detector import HostDetector
from detserve.worker.pipeline import Pipeline


def test_what_is_no_picture_is_passed_over_and_what_is_broken_is_named(
    portraits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for picture in portraits.iterdir():
        (tmp_path / picture.name).write_bytes(picture.read_bytes())
    (tmp_path / "labels.json").write_text("{}")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (tmp_path / "short.png").write_bytes(next(portraits.iterdir()).read_bytes()[:-4000])
    found = Calibration.of([str(tmp_path)])
    assert [path.name for path in found.pictures] == sorted(path.name for path in portraits.iterdir())
    broken, short = capsys.readouterr().err.splitlines()
    assert f"left out {tmp_path / 'broken.jpg'}: " in broken
    assert "cut short" in short


def test_too_few_pictures_are_refused_with_how_many_are_wanted(portraits: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"has 1 picture\(s\) that can be read; at least 10 are needed, 300 are good"):
        Calibration.of([str(next(portraits.iterdir()))])
    with pytest.raises(SetupError, match="no picture at"):
        Calibration.of([str(tmp_path)])


def test_of_many_pictures_as_many_as_are_good_are_taken_from_all_over(
    portraits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "MIN_PICTURES", 1)
    monkeypatch.setattr(calibration, "MAX_PICTURES", 4)
    names = sorted(path.name for path in portraits.iterdir())
    assert [path.name for path in Calibration.of([str(portraits)]).pictures] == names[::3]


@pytest.mark.parametrize("model", ["centerface", "ppocrv6-small-det"])
def test_a_picture_lies_on_the_input_as_a_served_one(model: str, tmp_path: Path) -> None:
    """A JPEG so large that it is decoded at a fraction."""
    spec = models.find(model).override(size=(320, 320))
    assert isinstance(spec, DetectorSpec)
    picture = locate("package:skimage/data/retina.jpg")
    adapter, plan = engines.find("onnx"), EnginePlan(precision="fp32", max_batch=1)
    adapter.build(sources.of(spec, locate(spec.weights.origin)), plan, tmp_path)
    seen: list[np.ndarray] = []

    class Watched(adapter):  # type: ignore[misc, valid-type]
        def __call__(self, batch: np.ndarray, lend: bool = False) -> dict[str, np.ndarray]:
            seen.append(batch.copy())
            return super().__call__(batch, lend)

    engine: Engine = Watched(tmp_path, spec, plan, Device())
    pipeline = Pipeline(HostDetector(engine), 10_000_000)
    pipeline([(picture.read_bytes(), Options(conf_threshold=0.5, iou_threshold=0.5, max_detections=1))])
    mine = Calibration((picture,) * 10).canvas(picture, spec)
    assert (mine.dtype, mine.ndim) == (np.uint8, 4)
    assert (mine == seen[-1]).all()

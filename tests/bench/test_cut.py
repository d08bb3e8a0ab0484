import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import cut, words

QUAD = [[20, 10], [60, 10], [60, 30], [20, 30]]


def test_labelled_words_become_crops_and_ignored_ones_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = np.zeros((50, 100, 3), np.uint8)
    picture[10:30, 20:60] = (0, 0, 255)  # red: OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    entries = [{"quad": QUAD, "text": "###", "ignore": True}, {"quad": QUAD, "text": "Stop", "ignore": False}]
    (tmp_path / "labels.json").write_text(json.dumps({"pictures": {"a.png": entries}}))
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["cut", str(tmp_path), str(out)])
    assert cut.main() == 0
    assert "1 words" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"a_1.png", "labels.json"}
    labelled = words.load(out)
    assert not labelled.pictures
    assert labelled.crops == {out / "a_1.png": "Stop"}
    crop = cv2.imread(str(out / "a_1.png"))
    assert crop.shape == (20, 40, 3)
    assert (crop == (0, 0, 255)).all()


def test_a_folder_without_labels_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cut", str(tmp_path), str(tmp_path / "out")])
    assert cut.main() == 1
    assert "neither labels.json" in capsys.readouterr().err

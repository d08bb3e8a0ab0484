import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import signs, words


def test_signs_are_labelled_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["signs", str(tmp_path), "2"])
    signs.main()
    labelled = words.load(tmp_path)
    assert len(labelled.pictures) == 2
    assert labelled.crops
    for path, there in labelled.pictures.items():
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        for word in there:
            assert word.text in signs.WORDS
            (left, top), (right, bottom) = word.quad.min(axis=0).astype(int), word.quad.max(axis=0).astype(int) + 1
            inside = grey[max(top, 0) : bottom, max(left, 0) : right]
            assert np.ptp(inside) > 30, "ink and paper"

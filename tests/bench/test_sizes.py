"""Input sizes side by side: which faces and which boxes count for a size of face, and the whole table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import sizes
from benchmarks.faces import Labelled
from detserve.errors import SetupError

PICTURE = Labelled(np.zeros((500, 1000, 3), np.uint8), np.array([[20.0, 20.0], [120.0, 120.0], [300.0, 300.0]]))
SMALL, MEDIUM, LARGE = [10.0, 10, 30, 30, 0.9], [100.0, 100, 140, 150, 0.8], [250.0, 250, 350, 400, 0.7]
FOUND = np.array([SMALL, MEDIUM, LARGE])


def test_a_face_is_as_large_as_the_surest_box_around_its_nose() -> None:
    unsure = [0.0, 0, 200, 200, 0.1]
    assert sizes.sizes(PICTURE, np.array([*FOUND, unsure])) == pytest.approx([0.02, 0.05, 0.15])
    with pytest.raises(SetupError, match="not found at 1280"):
        sizes.sizes(PICTURE, FOUND[:2])


def test_faces_of_other_sizes_and_their_boxes_do_not_count() -> None:
    sized = sizes.sizes(PICTURE, FOUND)
    wrong = [400.0, 100, 420, 110, 0.95]  # small, on no face
    everything = np.array([wrong, *FOUND])
    for limits, boxes, nose in (
        (sizes.LIMITS["small"], [wrong, SMALL], 0),
        (sizes.LIMITS["medium"], [MEDIUM], 1),
        (sizes.LIMITS["large"], [LARGE], 2),
    ):
        rows, labelled = sizes.of_size(everything, PICTURE, sized, limits)
        assert rows.tolist() == boxes
        assert labelled.noses.tolist() == [PICTURE.noses[nose].tolist()]
    # Of two small boxes the surer is wrong: precision 1/2 at the one small face, 1 at the others.
    assert sizes.precisions([everything], [PICTURE], [sized])[1:] == pytest.approx([0.5, 1.0, 1.0])
    assert sizes.precisions([everything[:1]], [PICTURE], [sized]) == pytest.approx([0, 0, 0, 0])


@pytest.mark.slow
def test_larger_inputs_find_more_and_take_longer(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "ROUNDS", 3)
    monkeypatch.setattr(sizes, "CALLS", 2)
    head, *rows = sizes.rows("centerface", [], [160, 320], shared / "images")
    found = [dict(zip(head, map(float, row), strict=True)) for row in rows]
    assert [row["input"] for row in found] == [160, 320]
    for name in head[1:]:
        assert found[0][name] <= found[1][name], name

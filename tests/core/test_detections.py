from dataclasses import replace

import numpy as np
import pytest

from detserve.core.detections import Detections

BOXES = np.arange(12, dtype=np.float32).reshape(3, 4)
SCORES = np.array([0.9, 0.5, 0.1], np.float32)
POINTS = np.zeros((3, 5, 2), np.float32)


@pytest.mark.parametrize(
    ("arrays", "names"),
    [
        ((BOXES[:2], SCORES), "boxes"),
        ((BOXES.astype(np.float64), SCORES), "boxes"),
        ((BOXES, SCORES[:, None]), "scores"),
        ((BOXES, SCORES, POINTS[:2]), "keypoints"),
        ((BOXES, SCORES, POINTS[..., :1]), "keypoints"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: tuple[np.ndarray, ...], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        Detections(*arrays)


def test_indexing_selects_in_every_array() -> None:
    found = Detections(BOXES, SCORES, POINTS + np.arange(3, dtype=np.float32)[:, None, None])
    picked = found[SCORES > 0.3][::-1]
    assert len(picked) == 2
    assert picked.scores.tolist() == SCORES[[1, 0]].tolist()
    assert picked.boxes.tolist() == BOXES[[1, 0]].tolist()
    assert picked.keypoints is not None
    assert picked.keypoints[:, 0, 0].tolist() == [1, 0]


def test_texts_outlines_and_quads_are_selected_alike() -> None:
    outlines = (POINTS[0], None, POINTS[1])
    quads = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    found = Detections.of_quads(quads, SCORES, outlines)
    found = replace(found, texts=("a", "b", "c"), text_scores=SCORES[::-1].copy())
    picked = found[[2, 1]]
    assert picked.texts == ("c", "b")
    assert picked.text_scores is not None and picked.text_scores.tolist() == SCORES[[0, 1]].tolist()
    assert picked.polygons is not None and picked.polygons[0] is outlines[2] and picked.polygons[1] is None
    assert picked.boxes.tolist() == [[16, 17, 22, 23], [8, 9, 14, 15]]


@pytest.mark.parametrize(
    "wrong",
    [{"quads": POINTS}, {"polygons": (None,)}, {"texts": ("a", "b", "c")}, {"texts": ("a",), "text_scores": SCORES}]
    + [{"labels": ("a", "b", "c")}, {"label_ids": np.zeros(3, np.int32), "labels": ("a", "b", "c")}],
)
def test_parts_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Detections(BOXES, SCORES, **wrong)  # type: ignore[arg-type]


def test_empty_detections_keep_the_number_of_keypoints() -> None:
    assert Detections.empty().keypoints is None
    points = Detections.empty(5).keypoints
    assert points is not None
    assert points.shape == (0, 5, 2)

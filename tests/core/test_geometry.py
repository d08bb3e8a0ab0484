import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detserve.core.geometry import MAX_CANDIDATES, iou, nms

coordinates = st.floats(0, 100, width=32)
corners = arrays(np.float32, st.tuples(st.integers(1, 12), st.just(4)), elements=coordinates)
boxes = corners.map(lambda c: np.concatenate([np.minimum(c[:, :2], c[:, 2:]), np.maximum(c[:, :2], c[:, 2:])], 1))


@given(boxes)
def test_iou_is_symmetric_and_one_with_itself(some: np.ndarray) -> None:
    table = iou(some, some)
    assert (table == table.T).all()
    assert ((table >= 0) & (table <= 1 + 1e-6)).all()
    area = np.prod(some[:, 2:] - some[:, :2], axis=1)
    assert np.diag(table)[area > 1e-3] == pytest.approx(1, abs=1e-3)


def test_iou_of_known_boxes() -> None:
    a = np.array([[0, 0, 2, 2]], np.float32)
    b = np.array([[1, 1, 3, 3], [2, 2, 3, 3], [0, 0, 2, 2], [1, 1, 1, 1]], np.float32)
    assert iou(a, b)[0] == pytest.approx([1 / 7, 0, 1, 0])


@given(boxes, st.floats(0, 1), st.randoms(use_true_random=False))
def test_what_nms_keeps_does_not_overlap_and_what_it_drops_does(some: np.ndarray, threshold: float, random) -> None:
    scores = np.array([random.random() for _ in some], np.float32)
    keep = nms(some, scores, threshold)
    assert (np.diff(scores[keep]) <= 0).all()
    table = iou(some, some)
    for i in range(len(some)):
        better = [k for k in keep if k != i and scores[k] >= scores[i]]
        overlaps = any(table[i, k] > threshold for k in better)
        assert overlaps != (i in keep)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_nms_keeps_what_torchvision_keeps(shared, threshold: float) -> None:
    golden = np.load(shared / "golden/post/detection_ops.npz")
    kept = nms(golden["boxes"].astype(np.float32), golden["scores"].astype(np.float32), threshold)
    assert kept.tolist() == golden[f"nms_{threshold * 100:.0f}"].tolist()


def test_nms_of_nothing_and_of_too_much() -> None:
    assert len(nms(np.empty((0, 4), np.float32), np.empty(0, np.float32), 0.5)) == 0
    far = np.arange(MAX_CANDIDATES + 10, dtype=np.float32)[:, None] * 2 + np.array([0, 0, 1, 1], np.float32)
    assert len(nms(far, np.linspace(1, 0, len(far), dtype=np.float32), 0.5)) == MAX_CANDIDATES

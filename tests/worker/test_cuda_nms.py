"""Suppression of a batch in PyTorch against the greedy one in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from detserve.core.geometry import nms
from detserve.worker.cuda_nms import DROPPED, KEPT, MOST_COMPARED, OPEN, ROUNDS, suppress


def boxes_of(seed: int, n: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, spread, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(0, 40, (n, 2))], axis=1).astype(np.float32)


@given(
    st.integers(0, 10_000),
    st.integers(0, 60),
    st.sampled_from([5.0, 50.0, 300.0]),
    st.floats(0.05, 0.95),
    st.integers(0, 60),
)
def test_the_fate_of_each_box_is_that_of_greedy_suppression(
    seed: int, n: int, spread: float, threshold: float, valid: int
) -> None:
    boxes = boxes_of(seed, n, spread)
    above = np.arange(n) < valid
    fate = suppress(torch.from_numpy(boxes)[None], torch.from_numpy(above)[None], torch.tensor([threshold]))[0].numpy()
    greedy = nms(boxes[above], np.arange(n, 0, -1, np.float32)[above], np.float32(threshold))
    assert (fate[~above] == DROPPED).all()
    assume(not (fate == OPEN).any())  # the next test shows when that is
    assert set(np.flatnonzero(fate == KEPT)) == set(greedy)


def staircase(n: int) -> torch.Tensor:
    """Boxes that each overlap the next one by 0.6 and none else by more than 0.4."""
    start = torch.arange(n) * 0.25
    return torch.stack([start, torch.zeros(n), start + 1, torch.ones(n)], dim=1)


@pytest.mark.parametrize(("n", "settled"), [(2, True), (ROUNDS - 1, True), (ROUNDS + 5, False)])
def test_a_chain_longer_than_the_rounds_is_left_open(n: int, settled: bool) -> None:
    fate = suppress(staircase(n)[None], torch.ones(1, n, dtype=torch.bool), torch.tensor([0.5]))[0]
    assert bool((fate == OPEN).all()) != settled
    if settled:
        assert fate.tolist() == [KEPT if i % 2 == 0 else DROPPED for i in range(n)]


def test_each_picture_has_its_own_threshold_and_its_own_end() -> None:
    n = ROUNDS + 5
    boxes = staircase(n).expand(3, -1, -1)
    fate = suppress(boxes, torch.ones(3, n, dtype=torch.bool), torch.tensor([0.5, 0.7, 0.55]))
    assert (fate[0] == OPEN).all() and (fate[2] == OPEN).all()
    assert (fate[1] == KEPT).all()


@pytest.mark.parametrize("valid", [MOST_COMPARED, MOST_COMPARED + 1])
def test_more_boxes_than_are_compared_are_left_open(valid: int) -> None:
    boxes = torch.from_numpy(boxes_of(5, MOST_COMPARED + 100, 3000.0))[None]
    fate = suppress(boxes, torch.arange(MOST_COMPARED + 100)[None] < valid, torch.tensor([0.4]))[0]
    assert (fate[valid:] == DROPPED).all()
    assert bool((fate[:valid] == OPEN).all()) == (valid > MOST_COMPARED)
    if valid == MOST_COMPARED:
        kept = nms(boxes[0, :valid].numpy(), np.arange(valid, 0, -1, np.float32), np.float32(0.4))
        assert set(np.flatnonzero(fate == KEPT)) == set(kept)

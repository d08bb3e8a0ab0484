"""Tracks: faces that are missed between two sightings are put where they were; nothing else is."""

from __future__ import annotations

import pytest

from detserve.client.video.tracks import GAP, bridged


def moving(number: int, x: float = 0.0) -> list[float]:
    """A face on its way to the right and towards the camera."""
    return [0.2 + x + number * 0.01, 0.5, 0.1 + number * 0.002, 0.2]


def run(frames: list[list[list[float]]]) -> list[list[list[float]]]:
    """What is added to each frame."""
    seen = list(bridged(enumerate(frames)))
    assert [each.frame for each in seen] == list(range(len(frames)))
    assert [each.found for each in seen] == frames
    return [[list(box) for box in each.missed] for each in seen]


@pytest.mark.parametrize("gap", range(1, GAP + 1))
def test_a_face_that_is_missed_for_up_to_five_frames_is_where_it_must_have_been(gap: int) -> None:
    missing = range(4, 4 + gap)
    added = run([[] if n in missing else [moving(n)] for n in range(20)])
    for number, boxes in enumerate(added):
        assert boxes == ([pytest.approx(moving(number))] if number in missing else []), number


def test_longer_gaps_ends_and_beginnings_stay_as_they_are() -> None:
    assert not any(run([[moving(n)] if n < 3 or n > 3 + GAP else [] for n in range(20)]))
    assert not any(run([[moving(n)] if 5 < n < 9 else [] for n in range(20)]))
    assert run([]) == []
    assert run([[]] * 3) == [[]] * 3


def test_faces_that_cross_gaps_beside_each_other_are_not_mixed_up() -> None:
    frames = [[moving(n), moving(n, x=0.3)] for n in range(12)]
    frames[5] = [moving(5, x=0.3)]
    frames[6] = []
    frames[8] = [moving(8)]
    added = run(frames)
    assert added[5] == [pytest.approx(moving(5))]
    assert sorted(added[6]) == [pytest.approx(moving(6)), pytest.approx(moving(6, x=0.3))]
    assert added[8] == [pytest.approx(moving(8, x=0.3))]
    assert sum(map(len, added)) == 4


def test_another_face_elsewhere_is_not_the_same() -> None:
    assert not any(run([[moving(0)], [], [], [moving(3, x=0.5)]]))


def test_no_more_frames_are_held_than_a_gap_has() -> None:
    given = 0

    def frames():
        nonlocal given
        for number in range(50):
            given += 1
            yield number, [moving(number)]

    for number, _ in enumerate(bridged(frames())):
        assert given - number <= GAP + 1

"""The set of keys, against Python's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve.bulk import keys
from detserve.bulk.keys import Keys

KEY = st.tuples(st.sampled_from([b"\0", b"\1", b"\xff"]), st.sampled_from([b"\0", b"a"])).map(
    lambda ends: ends[0] * 8 + ends[1] * 8
)
"""Few of them, so that they come again; some end on zeros, which NumPy takes off."""


@given(st.lists(st.tuples(st.booleans(), KEY)))
def test_they_are_a_set(steps: list[tuple[bool, bytes]]) -> None:
    ours, theirs = Keys(), set[bytes]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "FRESH", 3)
        for one_by_one, key in steps:
            if one_by_one:
                assert ours.add(key) == (key not in theirs)
            else:
                ours.update([key, key])
            theirs.add(key)
            assert key in ours
    assert len(ours) == len(theirs)
    assert bytes(range(16)) not in ours


def test_a_key_takes_sixteen_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "FRESH", 10_000)
    found = Keys()
    found.update(number.to_bytes(16) for number in range(105_000))
    assert found._sorted.nbytes == 16 * len(found) == 16 * 105_000 and not found._fresh
    assert (104_999).to_bytes(16) in found and (105_000).to_bytes(16) not in found

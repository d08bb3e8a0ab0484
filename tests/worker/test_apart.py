"""A batch that fails: only the faulty picture does, and nothing runs on after an error of CUDA's."""

from __future__ import annotations

from typing import Any

import pytest

from detserve.core.detections import Detections
from detserve.errors import InternalError
from detserve.worker import apart
from detserve.worker.pipeline import Result

FOUND = Result(Detections.empty(), (4, 4))


def fails_with(message: str) -> Any:
    def pipeline(items: list[Any]) -> list[Result]:
        if "bad" in items:
            raise RuntimeError(message)
        return [FOUND for _ in items]

    return pipeline


@pytest.mark.parametrize("message", ["out of order", "CUDA out of memory. Tried to allocate 2 GiB"])
def test_only_the_faulty_picture_fails(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    before, bad, after = apart.run(fails_with(message), ["good", "bad", "good"], str)
    assert before is after is FOUND
    assert isinstance(bad.outcome, InternalError) and str(bad.outcome) == message
    assert "Traceback" in capsys.readouterr().err


def test_a_broken_context_is_raised_at_once() -> None:
    with pytest.raises(RuntimeError, match="illegal memory access"):
        apart.run(fails_with("CUDA error: an illegal memory access was encountered"), ["bad", "good"], str)

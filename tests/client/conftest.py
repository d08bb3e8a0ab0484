"""Retries without their pauses."""

from __future__ import annotations

import pytest

from detserve.client import retries


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "PAUSES", (0.01, 0.02))

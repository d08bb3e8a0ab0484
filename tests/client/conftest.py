"""Retries without their pauses."""

from __future__ import annotations

import pytest

from detserve.client import transport


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSES", (0.01, 0.02, 0.03))

"""Retries: when a question is asked again, for clients that block as for those of asyncio."""

from __future__ import annotations

import random
from collections.abc import Iterator

from detserve.client.answer import Failure
from detserve.client.status import NO_CONNECTION

PAUSES = (0.25, 0.5, 1.0, 2.0)
"""Seconds before each further try; up to a quarter more, so that many callers do not come back at once."""
LONGEST = 30.0
"""Seconds that a server may ask for by Retry-After; one that asks for more is not asked again."""


class Retries:
    """What one client knows of its server, and how long it waits for it. Threads may share it.

    When the server has stayed away for one question, the next ones are tried only once each until one is answered. So
    a folder of pictures does not wait picture by picture for a server that is not there.
    """

    def __init__(self, most: int = len(PAUSES)) -> None:
        """most: how often a question is asked again."""
        self._most = most
        self._there = True

    def pauses(self) -> Iterator[float]:
        """The pauses of one question."""
        tries = range(self._most if self._there else 0)
        return (PAUSES[min(i, len(PAUSES) - 1)] for i in tries)

    def answered(self) -> None:
        """The server has answered."""
        self._there = True

    def after(self, failure: Failure, pauses: Iterator[float]) -> float:
        """Seconds to wait before the next try. Raises the failure when there is to be none."""
        pause = next(pauses, None) if failure.passes and failure.retry_after <= LONGEST else None
        if pause is None:
            self._there = failure.code != NO_CONNECTION
            raise failure
        return max(pause * random.uniform(1, 1.25), failure.retry_after)

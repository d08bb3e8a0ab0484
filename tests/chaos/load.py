"""Callers that send pictures over connections of their own, one after the other, until they are told to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from typing import Self

from tests.chaos.tally import NO_ANSWER, NO_CONNECTION, Hit

TIMEOUT = 60.0
"""Seconds for one answer. Longer than any test waits: what does not come by then is lost."""
PAUSE = 0.02
"""Seconds after a refusal: nobody gains by a caller that spins."""


class Caller:
    """One connection, kept alive where the server keeps it; `with Caller(...) as caller:` closes it."""

    def __init__(self, port: int, model: str) -> None:
        self.port, self.path = port, f"/predictions/{model}"
        self._connection: HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hit(self, picture: bytes, number: int = 0) -> Hit:
        """Send one picture and read its answer."""
        begun = sent = time.monotonic()
        status = NO_CONNECTION
        try:
            if self._connection is None:
                connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
                connection.connect()
                self._connection = connection
            status = NO_ANSWER
            self._connection.request("PUT", self.path, picture)
            sent = time.monotonic()
            answer = self._connection.getresponse()
            answer.read()
            status = answer.status
            if answer.will_close:
                self.close()
        except (OSError, HTTPException):
            self.close()
        return Hit(begun, sent, time.monotonic(), status, number)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def hit_once(port: int, model: str, picture: bytes) -> Hit:
    """One request over a connection of its own."""
    with Caller(port, model) as caller:
        return caller.hit(picture)


class Load:
    """`with Load(...) as load:` so many callers send the pictures in turn; load.hits has all once it is left.

    think: seconds that a caller waits after an answer.
    """

    def __init__(self, port: int, model: str, pictures: Sequence[bytes], callers: int, think: float = 0.0) -> None:
        self.port, self.model = port, model
        self.pictures = pictures
        self.think = think
        self.hits: list[Hit] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(n,), daemon=True) for n in range(callers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Send no more, and wait for the last answers."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _call(self, n: int) -> None:
        turn = n
        with Caller(self.port, self.model) as caller:
            while not self._ended.is_set():
                number = turn % len(self.pictures)
                hit = caller.hit(self.pictures[number], number)
                self.hits.append(hit)
                turn += len(self._threads)
                time.sleep(self.think if 200 <= hit.status < 500 else PAUSE)

"""The load that tests put on a server: callers with a connection each, and a tally of what became of their requests."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import NamedTuple, Self

TIMEOUT = 60.0
"""Seconds for one answer. Longer than any test waits: what does not come by then is lost."""
PAUSE = 0.02
"""Seconds after a refusal: nobody gains by a caller that spins."""
NO_CONNECTION = 0
"""In the place of a status: nobody listened."""
NO_ANSWER = -1
"""In the place of a status: there was a connection, and no answer came over it."""


class Hit(NamedTuple):
    """One request: when it was begun, when its last byte was sent, when it ended, in seconds of time.monotonic()."""

    begun: float
    sent: float
    ended: float
    status: int
    """Of HTTP, or NO_CONNECTION, or NO_ANSWER."""
    picture: int
    """Its number among those of the load."""
    said: str
    """What `Way.told` makes of the answer, or the error."""


@dataclass(frozen=True)
class Tally:
    """What became of requests. Each is one of: answered 200, rejected 4xx, refused 503 or without a connection,
    failed with another status, lost without an answer over its connection."""

    sent: int
    answered: int = 0
    rejected: int = 0
    refused: int = 0
    failed: int = 0
    lost: int = 0

    def __post_init__(self) -> None:
        if self.sent != self.answered + self.rejected + self.refused + self.failed + self.lost:
            raise ValueError(f"these do not add up: {self}")

    @classmethod
    def of(cls, hits: Iterable[Hit]) -> Self:
        kinds = [kind_of(hit.status) for hit in hits]
        return cls(len(kinds), *(kinds.count(name) for name in ("answered", "rejected", "refused", "failed", "lost")))

    def __add__(self, other: Self) -> Self:
        return type(self)(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        counts = (f"{name} {count:,}" for name, count in vars(self).items())
        return ", ".join(counts)


def kind_of(status: int) -> str:
    """The name of the count in a Tally that a status belongs to."""
    if status == NO_ANSWER:
        return "lost"
    if status in (NO_CONNECTION, 503):
        return "refused"
    return {2: "answered", 4: "rejected"}.get(status // 100, "failed")


def named(answer: HTTPResponse, body: bytes) -> str:
    """The model that answered, as X-Model names it; or the status and the start of what was said."""
    if answer.status == 200:
        return answer.headers.get("X-Model", "")
    return f"{answer.status} {body[:200].decode(errors='replace')}"


@dataclass(frozen=True)
class Way:
    """How a picture is sent. told: what a Hit keeps of an answer and its body."""

    path: str
    method: str = "PUT"
    headers: Mapping[str, str] | None = None
    told: Callable[[HTTPResponse, bytes], str] = named


class Caller:
    """One connection, kept alive where the server keeps it; `with Caller(...) as caller:` closes it."""

    def __init__(self, port: int, to: str | Way, timeout: float = TIMEOUT) -> None:
        """to: a model, or another way than a PUT to it."""
        self.way = to if isinstance(to, Way) else Way(f"/predictions/{to}")
        self.port, self.timeout = port, timeout
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
                connection = HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
                connection.connect()
                self._connection = connection
            status = NO_ANSWER
            self._connection.request(self.way.method, self.way.path, picture, self.way.headers or {})
            sent = time.monotonic()
            answer = self._connection.getresponse()
            body = answer.read()
            status = answer.status
            said = self.way.told(answer, body)
            if answer.will_close:
                self.close()
        except (OSError, HTTPException) as error:
            said = type(error).__name__
            self.close()
        return Hit(begun, sent, time.monotonic(), status, number, said)

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

    think: seconds that a caller waits after an answer. timeout: for one answer. times: how often each caller sends,
    and then the end of the block waits for the answers; None for until then.
    """

    def __init__(
        self,
        port: int,
        to: str | Way,
        pictures: Sequence[bytes],
        callers: int,
        think: float = 0.0,
        timeout: float = TIMEOUT,
        times: int | None = None,
    ) -> None:
        self.port, self.to, self.pictures = port, to, pictures
        self.think, self.timeout, self.times = think, timeout, times
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

    @property
    def busy(self) -> bool:
        """Whether any caller has not had all its answers."""
        return any(thread.is_alive() for thread in self._threads)

    @property
    def said(self) -> Counter[str]:
        """How often each answer was given."""
        return Counter(hit.said for hit in list(self.hits))

    def wait_for(self, more: int, said: str | None = None) -> None:
        """Return when so many more answers have come, of that kind where one is named."""

        def count() -> int:
            return self.said[said] if said else len(self.hits)

        deadline, before = time.monotonic() + 60, count()
        while count() < before + more:
            assert time.monotonic() < deadline, self.said
            time.sleep(0.01)

    def _call(self, n: int) -> None:
        turn = n
        with Caller(self.port, self.to, self.timeout) as caller:
            while self.times or not self._ended.is_set():
                number = turn % len(self.pictures)
                hit = caller.hit(self.pictures[number], number)
                self.hits.append(hit)
                turn += len(self._threads)
                if self.times and turn >= n + self.times * len(self._threads):
                    return
                time.sleep(self.think if 200 <= hit.status < 500 else PAUSE)

"""The client for programs: pictures in any form → faces, texts and objects, typed. Blocking, and for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self, TypedDict, Unpack

from detserve.client import found, protocol
from detserve.client.answer import Answer
from detserve.client.found import Found, T
from detserve.client.given import Picture, encoded
from detserve.client.http import AsyncHttp, Http
from detserve.client.protocol import PREDICTIONS, Form, Question
from detserve.client.retries import PAUSES, Retries
from detserve.client.shapes import Face, Object, Text
from detserve.client.transport import Asker, AsyncAsker

Size = tuple[int, int]
URL = "http://127.0.0.1:8080"
AT_ONCE = 4
"""The most calls at a time, unless the caller says otherwise."""


class Thresholds(TypedDict, total=False):
    """Options of every model, see the README's table: what is left out is as the model has it."""

    conf: float
    iou: float
    max_detections: int
    min_size: float


class Reading(Thresholds, total=False):
    """And those of models that read."""

    detect: Literal["on", "off"]
    split: Literal["lines", "words", "characters"]
    rotate: Literal["off", "auto"]


class Masking(Thresholds, total=False):
    """And of models that answer with masks."""

    masks: Literal["rle", "polygon", "none"]


class Client:
    """A server of detserve, spoken to over HTTP on connections that are kept. Threads may share a client.

    ::

        with Client() as client:
            for face in client.faces("img.jpg", conf=0.4):
                print(face.conf, face.box.xyxy, face.landmarks.nose)

    url: of the server; token: of one that asks for it; timeout: seconds that it may be silent; retries: how often a
    question is asked again while the server is busy (503) or the connection is lost; at_once: the most calls at a
    time, further ones wait; form: TRITON where that is the server. A picture is a path, the bytes of a file, a picture
    of Pillow, or an array uint8 [h, w, 3] in RGB.

    Calls raise Failure where there is no answer (Busy, NoConnection, TimedOut, Refused, ServerFault), InvalidOption for
    an option out of range, OSError for a file that cannot be read, and BadPicture for pixels that cannot be sent.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        retries: int = len(PAUSES),
        at_once: int = AT_ONCE,
        form: Form = PREDICTIONS,
    ) -> None:
        self._http = Http(url, token, timeout, at_once, form)
        self._asker = Asker(self._http, Retries(retries))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(self, model: str, picture: Picture, *, depth: Picture | None = None, **options: Any) -> Answer:
        """What any model answers, in the server's own words. depth: the map beside the picture, a path or bytes."""
        return self._asker.ask(_question(model, picture, depth, options))

    def faces(self, picture: Picture, model: str = "fd1", **options: Unpack[Thresholds]) -> Found[Face]:
        """The faces in a picture."""
        return self._find(found.faces, _question(model, picture, None, options))

    def texts(self, picture: Picture, model: str = "td1", **options: Unpack[Thresholds]) -> Found[Text]:
        """The text regions in a picture, not read."""
        return self._find(found.texts, _question(model, picture, None, options))

    def read(self, picture: Picture, model: str = "ocr1", **options: Unpack[Reading]) -> Found[Text]:
        """The texts in a picture and what they say, in reading order."""
        return self._find(found.texts, _question(model, picture, None, options))

    def objects(
        self, picture: Picture, model: str = "md1", *, depth: Picture | None = None, **options: Unpack[Masking]
    ) -> Found[Object]:
        """The objects in a picture, with their masks. depth: the map beside it, a path or bytes."""
        return self._find(found.objects, _question(model, picture, depth, options))

    def _find(self, read: Callable[[Answer, Size], Found[T]], question: Question) -> Found[T]:
        answer = self._asker.ask(question)
        return read(answer, answer.size or _size(question))


class AsyncClient:
    """`Client` for asyncio: its arguments, its calls to be awaited, and its errors.

    ::

        async with AsyncClient(at_once=8) as client:
            found = await asyncio.gather(*(client.faces(path) for path in paths))
    """

    def __init__(
        self,
        url: str = URL,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        retries: int = len(PAUSES),
        at_once: int = AT_ONCE,
        form: Form = PREDICTIONS,
    ) -> None:
        self._http = AsyncHttp(url, token, timeout, at_once, form)
        self._asker = AsyncAsker(self._http, Retries(retries))
        self._turns = asyncio.Semaphore(at_once)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def ask(self, model: str, picture: Picture, *, depth: Picture | None = None, **options: Any) -> Answer:
        """What any model answers, in the server's own words. depth: the map beside the picture, a path or bytes."""
        return (await self._ask(model, picture, depth, options))[1]

    async def faces(self, picture: Picture, model: str = "fd1", **options: Unpack[Thresholds]) -> Found[Face]:
        """The faces in a picture."""
        return await self._find(found.faces, model, picture, None, options)

    async def texts(self, picture: Picture, model: str = "td1", **options: Unpack[Thresholds]) -> Found[Text]:
        """The text regions in a picture, not read."""
        return await self._find(found.texts, model, picture, None, options)

    async def read(self, picture: Picture, model: str = "ocr1", **options: Unpack[Reading]) -> Found[Text]:
        """The texts in a picture and what they say, in reading order."""
        return await self._find(found.texts, model, picture, None, options)

    async def objects(
        self, picture: Picture, model: str = "md1", *, depth: Picture | None = None, **options: Unpack[Masking]
    ) -> Found[Object]:
        """The objects in a picture, with their masks. depth: the map beside it, a path or bytes."""
        return await self._find(found.objects, model, picture, depth, options)

    async def _find(self, read: Callable[[Answer, Size], Found[T]], *arguments: Any) -> Found[T]:
        question, answer = await self._ask(*arguments)
        return read(answer, answer.size or _size(question))

    async def _ask(self, *arguments: Any) -> tuple[Question, Answer]:
        """`_question` and its answer. Files are read, and pixels encoded, in a thread, and only when their turn is."""
        async with self._turns:
            question = await asyncio.to_thread(_question, *arguments)
            return question, await self._asker.ask(question)


def _question(model: str, picture: Picture, depth: Picture | None, options: Mapping[str, Any]) -> Question:
    sent = encoded(picture)
    if depth is None:
        return Question(model, sent, protocol.fields(options))
    from detserve.pictures.depth import WithDepth  # brings OpenCV, which pictures alone do not need

    return Question(model, WithDepth(sent, encoded(depth)), protocol.fields(options))


def _size(question: Question) -> Size:
    """The size of a picture whose answer does not tell it, as behind a proxy that drops headers."""
    from detserve.pictures.decode import read_header

    picture = question.picture
    return read_header(picture if isinstance(picture, bytes) else picture.colour).size

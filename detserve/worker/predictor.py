"""Predictor: requests → answers, whichever server has taken the requests.

TorchServe's handler, and what `repack.py` writes for other servers (detserve/pack/exits), are thin over this: they say
what their server's form of a request is, and hand the replies on.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from detserve.archives.recipe import Recipe
from detserve.engines.base import Device
from detserve.errors import AnswerTooLarge, RequestError
from detserve.options import Options
from detserve.pictures.depth import WithDepth
from detserve.worker import apart
from detserve.worker.envelope import DEPTH, EncodedPicture, Envelope
from detserve.worker.loading import load_pipeline
from detserve.worker.pipeline import Item, Pipeline, Result
from detserve.worker.response import content

MAX_BATCH = 32
"""The most pictures that go through the pipeline at a time."""
MAX_ANSWER = 30 * 1024 * 1024
"""The most bytes that a worker answers at a time: config.properties lets 32 MiB pass, envelopes included."""
TOO_LARGE = "an answer of {:.0f} MB: ask for fewer objects by max_detections or conf_threshold, or for masks as rle"
THREADS_VARIABLE = "DETSERVE_THREADS"


@dataclass(frozen=True)
class Request:
    """One request: what it holds, and its headers, in which options may stand."""

    envelope: Envelope
    headers: Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """The answer to one request. status: of HTTP; body: what its envelope makes of the results, JSON bytes mostly."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Predictor:
    """Answers batches of requests with one model.

    model: its name and version; defaults: see `Recipe.options`; observe: is given the results of each batch that went
    through the pipeline, for metrics.
    """

    def __init__(
        self,
        pipeline: Pipeline[Any, Any],
        model: tuple[str, str],
        defaults: Mapping[str, str],
        observe: Callable[[Sequence[Result]], None] | None = None,
    ) -> None:
        self.pipeline, self.model, self.defaults, self.observe = pipeline, model, defaults, observe

    @classmethod
    def load(cls, folder: Path, document: Mapping[str, Any] | None, model: tuple[str, str], gpu: int | None) -> Self:
        """Load the archive that was unpacked into that folder. document: its YAML, parsed; gpu: the number of one.

        Raises a SetupError, or RuntimeError that names a package that is missing; see `load_pipeline`.
        """
        recipe = Recipe.of_archive(document)
        device = Device(threads=int(os.environ.get(THREADS_VARIABLE, "1")), gpu=gpu)
        return cls(load_pipeline(recipe, folder, device), model, recipe.options)

    def __call__(self, requests: Sequence[Request]) -> list[Reply]:
        """A reply for each request, in their order. A fault of one never touches the others."""
        items = [self._item(picture, request.headers) for request in requests for picture in request.envelope.pictures]
        results = iter(self._run_in_batches(items))
        replies = []
        for request in requests:
            own = [next(results) for _ in request.envelope.pictures]
            body = request.envelope.answer([content(result) for result in own], *self.model)
            if isinstance(body, bytes) and len(body) > MAX_ANSWER // len(requests):
                own = [Result(AnswerTooLarge(TOO_LARGE.format(len(body) / 1e6))) for _ in own]
                body = request.envelope.answer([content(result) for result in own], *self.model)
            replies.append(Reply(_status(own), self._headers(own), body))
        return replies

    def _item(self, picture: EncodedPicture | RequestError, headers: Mapping[str, Any]) -> Item | RequestError:
        if isinstance(picture, RequestError):
            return picture
        data, fields = picture
        try:
            depth = fields.get(DEPTH)
            options = Options.parse({**headers, **fields}, self.pipeline.spec, self.defaults)
            return (data if depth is None else WithDepth(data, depth)), options
        except RequestError as error:
            return error.without_traceback()

    def _run_in_batches(self, items: Sequence[Item | RequestError]) -> list[Result]:
        """Run at most MAX_BATCH pictures at a time: several requests of many pictures may come at once."""
        results: list[Result] = []
        for start in range(0, len(items), MAX_BATCH):
            batch = self._run(items[start : start + MAX_BATCH])
            if self.observe:
                self.observe(batch)
            results += batch
        return results

    def _run(self, items: Sequence[Item | RequestError]) -> list[Result]:
        """The pipeline's results; the process ends after an error of CUDA's, or the server would keep the worker."""
        try:
            return apart.run(self.pipeline, items, lambda _: "the server failed on this picture; its log says why")
        except Exception:
            traceback.print_exc()
            print("detserve: the CUDA context is broken; the worker ends so that it is started anew", file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)

    def _headers(self, results: Sequence[Result]) -> dict[str, str]:
        headers = {"content-type": "application/json", "X-Model": "/".join(self.model)}
        if len(results) == 1 and (size := results[0].size):
            t = results[0].timings
            headers["X-Image-Size"] = "{}x{}".format(*size)
            headers["Server-Timing"] = f"decode;dur={t.decode:.2f}, infer;dur={t.infer:.2f}, post;dur={t.post:.2f}"
        return headers


def _status(results: Sequence[Result]) -> int:
    """200 where any picture of a request was answered, else the status of its first error."""
    errors = [result.outcome for result in results if isinstance(result.outcome, RequestError)]
    return errors[0].status if len(errors) == len(results) else 200

"""Handler: what TorchServe calls in each worker. It uses nothing of TorchServe but the context that a handler is given.

At the top this module imports only the standard library, because TorchServe hides an ImportError of a handler's module
behind one of its own. The rest is imported in `initialize`, which can name a missing package.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detserve.errors import RequestError
    from detserve.worker.envelope import EncodedPicture, Envelope
    from detserve.worker.pipeline import Item, Result

MAX_BATCH = 32
"""The most pictures that go through the pipeline at a time."""
MAX_ANSWER = 30 * 1024 * 1024
"""The most bytes that a worker answers at a time: config.properties lets 32 MiB pass, envelopes included."""
TOO_LARGE = "an answer of {:.0f} MB: ask for fewer objects by max_detections or conf_threshold, or for masks as rle"
THREADS_VARIABLE = "DETSERVE_THREADS"


class PictureHandler:
    """Answers pictures with detections: TorchServe calls `initialize` once in each worker, then `handle`."""

    def initialize(self, context: Any) -> None:
        """Load the engine of this archive. Raises RuntimeError, the only exception that TorchServe logs in full."""
        try:
            self._initialize(context)
        except ImportError as error:
            package = (error.name or str(error)).partition(".")[0]
            raise RuntimeError(
                f"{context.model_name} needs the package {package!r}, which is not installed here: {error}"
            ) from error
        except Exception as error:
            raise RuntimeError(f"{context.model_name} cannot be loaded: {error}") from error

    def _initialize(self, context: Any) -> None:
        from detserve.archives.recipe import Recipe
        from detserve.engines.base import Device
        from detserve.worker.loading import load_pipeline
        from detserve.worker.metrics import WorkerMetrics

        properties = context.system_properties
        device = Device(threads=int(os.environ.get(THREADS_VARIABLE, "1")), gpu=properties.get("gpu_id"))
        recipe = Recipe.of_archive(context.model_yaml_config)
        self.defaults = recipe.options
        self.pipeline = load_pipeline(recipe, Path(properties["model_dir"]), device)
        self.model = context.model_name, context.manifest["model"]["modelVersion"]
        self.headers = {"content-type": "application/json", "X-Model": "/".join(self.model)}
        self.metrics = WorkerMetrics(context)
        # TorchServe's worker logs several lines for each request.
        logging.getLogger().setLevel(logging.WARNING)

    def handle(self, rows: Sequence[Any], context: Any) -> list[Any]:
        """Answer a batch: JSON bytes for each row, with its own status and headers."""
        from detserve.errors import AnswerTooLarge
        from detserve.worker import envelope
        from detserve.worker.pipeline import Result
        from detserve.worker.response import content

        if rows == [{}] and context.get_request_header(0, "describe") == "True":
            return [b'{"pid": %d}' % os.getpid()]  # GET /models/NAME?customized=true: see Management.retire
        split = self._split_by_torchserve(rows, context)
        requests = [split] if split else [envelope.of_row(row) for row in rows]
        items = [
            self._item(picture, context.get_all_request_header(i))
            for i, request in enumerate(requests)
            for picture in request.pictures
        ]
        results = iter(self._run_in_batches(items))
        answers = []
        for i, request in enumerate(requests):
            own = [next(results) for _ in request.pictures]
            answer = request.answer([content(result) for result in own], *self.model)
            if isinstance(answer, bytes) and len(answer) > MAX_ANSWER // len(requests):
                own = [Result(AnswerTooLarge(TOO_LARGE.format(len(answer) / 1e6))) for _ in own]
                answer = request.answer([content(result) for result in own], *self.model)
            self._set_headers(context, i, own)
            answers.append(answer)
        return answers[0] if split else answers

    def _split_by_torchserve(self, rows: Sequence[Any], context: Any) -> Envelope | None:
        """The one request that TorchServe's own envelope has split into these rows; None where it has no envelope.

        Its v2 sets `input_names`. Its v1 leaves no mark, but without an envelope a row has a body, or bytes in it.
        """
        from detserve.worker import envelope

        if hasattr(context, "input_names"):
            return envelope.of_split_rows(rows, v2=True)
        row = rows[0]
        plain = isinstance(row, Mapping) and (
            "body" in row or any(isinstance(v, bytes | bytearray) for v in row.values())
        )
        return None if plain or len(context.request_processor) > 1 else envelope.of_split_rows(rows, v2=False)

    def _item(self, picture: EncodedPicture | RequestError, headers: Mapping[str, Any]) -> Item | RequestError:
        from detserve.errors import RequestError
        from detserve.options import Options
        from detserve.pictures.depth import WithDepth
        from detserve.worker.envelope import DEPTH

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
            self.metrics.observe(batch)
            results += batch
        return results

    def _run(self, items: Sequence[Item | RequestError]) -> list[Result]:
        """The pipeline's results. If a batch fails, each picture runs alone, so that only the faulty one fails."""
        from detserve.errors import InternalError
        from detserve.worker.pipeline import Result

        try:
            return self.pipeline(items)
        except Exception as error:
            _exit_on_cuda_error(error)
            if len(items) > 1:
                return [result for item in items for result in self._run([item])]
            traceback.print_exc()
            return [Result(InternalError("the server failed on this picture; its log says why"))]

    def _set_headers(self, context: Any, i: int, results: Sequence[Result]) -> None:
        """The headers of request i, and its status: 200 where any of its pictures was answered."""
        from detserve.errors import RequestError

        headers = dict(self.headers)
        errors = [result.outcome for result in results if isinstance(result.outcome, RequestError)]
        status = HTTPStatus(errors[0].status if len(errors) == len(results) else 200)
        context.set_response_status(code=status.value, phrase=status.phrase, idx=i)
        if len(results) == 1 and (size := results[0].size):
            t = results[0].timings
            headers["X-Image-Size"] = "{}x{}".format(*size)
            headers["Server-Timing"] = f"decode;dur={t.decode:.2f}, infer;dur={t.infer:.2f}, post;dur={t.post:.2f}"
        for name, value in headers.items():
            context.set_response_header(i, name, value)


def _exit_on_cuda_error(error: Exception) -> None:
    """End the process after a CUDA error: its context stays broken, and TorchServe would keep the worker.

    Running out of memory leaves the context whole, so it is an error like any other.
    """
    text = f"{type(error).__name__}: {error}"
    if "CUDA" in text and "out of memory" not in text:
        traceback.print_exc()
        print("detserve: the CUDA context is broken; the worker ends so that it is started anew", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)

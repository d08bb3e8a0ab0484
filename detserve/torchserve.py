"""The handler base: the only module that knows TorchServe, and no other part of it than its handler's context.

At the top it imports nothing but the standard library, because TorchServe hides an ImportError of a handler's
module behind one of its own. What a worker needs is imported in `initialize`, where a missing package is named.
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
    from detserve.pipeline import Item, Pipeline, Result

PICTURE_FIELDS = ("data", "image", "body")
THREADS_VARIABLE = "DETSERVE_THREADS"

Row = Mapping[str, Any]
"""One request as TorchServe hands it over: the body under "body" or "data", multipart fields by their names."""


class PictureHandler:
    """Answers pictures with detections: TorchServe calls `initialize` once in each worker, then `handle`."""

    def initialize(self, context: Any) -> None:
        """Load the engine of this archive. Raises RuntimeError, the one kind whose message TorchServe logs whole."""
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
        from detserve.backends.base import Device
        from detserve.metrics import WorkerMetrics
        from detserve.recipe import Recipe

        properties = context.system_properties
        device = Device(threads=int(os.environ.get(THREADS_VARIABLE, "1")), gpu=properties.get("gpu_id"))
        recipe = Recipe.of_archive(context.model_yaml_config)
        self.defaults = recipe.options
        self.pipeline: Pipeline = recipe.pipeline(Path(properties["model_dir"]), device)
        version = context.manifest["model"]["modelVersion"]
        self.headers = {"content-type": "application/json", "X-Model": f"{context.model_name}/{version}"}
        self.metrics = WorkerMetrics(context)
        # TorchServe's worker logs several lines a request.
        logging.getLogger().setLevel(logging.WARNING)

    def handle(self, rows: Sequence[Row], context: Any) -> list[bytes]:
        """Answer a batch: JSON bytes for each row, with its own status and headers."""
        from detserve.response import body

        items = [self._read(row, context.get_all_request_header(i)) for i, row in enumerate(rows)]
        results = self._run(items)
        for i, result in enumerate(results):
            self._set_headers(context, i, result)
        self.metrics.observe(results)
        return [body(result) for result in results]

    def _read(self, row: Row, headers: Mapping[str, Any]) -> Item | RequestError:
        from detserve.errors import BadPicture, RequestError
        from detserve.options import Options

        try:
            options = Options.parse({**headers, **row}, self.pipeline.spec, self.defaults)
        except RequestError as error:
            return error.bare()
        data = next((row[name] for name in PICTURE_FIELDS if name in row), None)
        if not isinstance(data, bytes | bytearray):
            return BadPicture(
                "no picture in the request; send its bytes as the body (curl -T FILE) or as the multipart field 'data'"
            )
        return data, options

    def _run(self, items: Sequence[Item | RequestError]) -> list[Result]:
        """The pipeline's results. Should it fail as a whole, each request runs alone, so that only the one fails."""
        from detserve.errors import InternalError
        from detserve.pipeline import Result

        try:
            return self.pipeline(items)
        except Exception as error:
            _exit_if_poisoned(error)
            if len(items) > 1:
                return [result for item in items for result in self._run([item])]
            traceback.print_exc()
            return [Result(InternalError("the server failed on this picture; its log says why"))]

    def _set_headers(self, context: Any, i: int, result: Result) -> None:
        from detserve.errors import RequestError

        headers = dict(self.headers)
        status = HTTPStatus(result.outcome.status if isinstance(result.outcome, RequestError) else 200)
        context.set_response_status(code=status.value, phrase=status.phrase, idx=i)
        if result.size:
            t = result.timings
            headers["X-Image-Size"] = "{}x{}".format(*result.size)
            headers["Server-Timing"] = f"decode;dur={t.decode:.2f}, infer;dur={t.infer:.2f}, post;dur={t.post:.2f}"
        for name, value in headers.items():
            context.set_response_header(i, name, value)


def _exit_if_poisoned(error: Exception) -> None:
    """End the process after a CUDA error: its context stays broken, and TorchServe would keep the worker.

    Running out of memory leaves the context whole, so that one is an error like any other.
    """
    text = f"{type(error).__name__}: {error}"
    if "CUDA" in text and "out of memory" not in text:
        traceback.print_exc()
        print("detserve: the CUDA context is broken; the worker ends so that it is started anew", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)

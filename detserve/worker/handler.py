"""Handler: what TorchServe calls in each worker. It uses nothing of TorchServe but the context that a handler is given.

At the top this module imports only the standard library and what imports no more, because TorchServe hides an
ImportError of a handler's module behind one of its own. The rest is imported in `initialize`, which can name a missing
package.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detserve.worker.starting import starting

if TYPE_CHECKING:
    from detserve.worker.envelope import Envelope
    from detserve.worker.predictor import Reply


class PictureHandler:
    """Answers pictures with detections: TorchServe calls `initialize` once in each worker, then `handle`."""

    def initialize(self, context: Any) -> None:
        """Load the engine of this archive. Raises RuntimeError, the only exception that TorchServe logs in full."""
        with starting(context.model_name):
            from detserve.worker.metrics import WorkerMetrics
            from detserve.worker.predictor import Predictor

            properties = context.system_properties
            model = context.model_name, context.manifest["model"]["modelVersion"]
            self.predictor = Predictor.load(
                Path(properties["model_dir"]), context.model_yaml_config, model, properties.get("gpu_id")
            )
            self.predictor.observe = WorkerMetrics(context).observe
        # TorchServe's worker logs several lines for each request.
        logging.getLogger().setLevel(logging.WARNING)

    def handle(self, rows: Sequence[Any], context: Any) -> list[Any]:
        """Answer a batch: JSON bytes for each row, with its own status and headers."""
        from detserve.worker import envelope
        from detserve.worker.predictor import Request

        if rows == [{}] and context.get_request_header(0, "describe") == "True":
            return [b'{"pid": %d}' % os.getpid()]  # GET /models/NAME?customized=true: see Management.retire
        split = self._split_by_torchserve(rows, context)
        envelopes = [split] if split else [envelope.of_row(row) for row in rows]
        replies = self.predictor([Request(each, context.get_all_request_header(i)) for i, each in enumerate(envelopes)])
        for i, reply in enumerate(replies):
            _set_headers(context, i, reply)
        answers = [reply.body for reply in replies]
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


def _set_headers(context: Any, i: int, reply: Reply) -> None:
    context.set_response_status(code=reply.status, phrase=HTTPStatus(reply.status).phrase, idx=i)
    for name, value in reply.headers.items():
        context.set_response_header(i, name, value)

"""Apart: where a batch fails, each of its pictures runs alone, so that only the faulty one fails."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

from detserve.errors import InternalError, RequestError
from detserve.worker.pipeline import Item, Pipeline, Result


def run(
    pipeline: Pipeline[Any, Any], items: Sequence[Item | RequestError], told: Callable[[Exception], str]
) -> list[Result]:
    """The pipeline's results. told: what the answer says of an error of ours; its traceback is printed.

    Raises the error only where it has broken CUDA's context: nothing runs in this process any more. Running out of
    memory leaves the context whole, so it is an error like any other.
    """
    try:
        return pipeline(items)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if "CUDA" in text and "out of memory" not in text:
            raise
        if len(items) > 1:
            return [result for item in items for result in run(pipeline, [item], told)]
        traceback.print_exc()
        return [Result(InternalError(told(error)))]

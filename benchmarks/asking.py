"""Asking: a picture's bytes → what is on it, by a running server or by an archive in process."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests

from detserve.archives.recipe import PackedModel
from detserve.errors import SetupError

Answer = list[dict[str, Any]]
"""The objects of an answer, see README.md."""
Ask = Callable[[bytes], Answer]
"""Raises SetupError where there is no server, or it refuses a picture, and RequestError where an archive does."""
TIMEOUT = 120
"""Seconds."""


def add_arguments(parser: argparse.ArgumentParser, model: str) -> None:
    """`--url` and `--archive`; without either the server of `make serve` is asked."""
    whom = parser.add_mutually_exclusive_group()
    url = f"http://127.0.0.1:8080/predictions/{model}"
    whom.add_argument("--url", default=url, help=f"a served model ({url})")
    whom.add_argument("--archive", type=Path, metavar="FILE.mar", help="an archive, run in process on one thread")


@contextmanager
def opened(options: argparse.Namespace) -> Iterator[Callable[[Mapping[str, str]], Ask]]:
    """Whom the command line names, as a function from the headers of the requests to an Ask.

    Raises SetupError for an archive that cannot be read.
    """
    if options.archive:
        with in_process(options.archive) as ask:
            yield ask
    else:
        with requests.Session() as session:
            yield lambda headers: lambda picture: _over_http(session, options.url, picture, headers)


@contextmanager
def in_process(
    path: Path, detect: Mapping[str, Any] | None = None, read: Mapping[str, Any] | None = None
) -> Iterator[Callable[[Mapping[str, str]], Ask]]:
    """An archive's engines behind this checkout's pipeline, one picture at a time, on one thread as in a worker.

    detect, read: settings of the specs of its two models in place of those that it was packed with.
    """
    from detserve.bench.engine import packed
    from detserve.core.machine import gpus
    from detserve.engines.base import Device
    from detserve.errors import RequestError
    from detserve.options import Options
    from detserve.worker.loading import load_pipeline
    from detserve.worker.response import content

    with packed(path) as target:
        recipe = replace(target.recipe, detect=_changed(target.recipe.detect, detect))
        if recipe.read:
            recipe = replace(recipe, read=_changed(recipe.read, read))
        pipeline = load_pipeline(recipe, target.folder, Device(threads=1, gpu=0 if gpus() else None))

        def ask(picture: bytes, headers: Mapping[str, str]) -> Answer:
            (result,) = pipeline([(picture, Options.parse(headers, pipeline.spec, recipe.options))])
            if isinstance(result.outcome, RequestError):
                raise result.outcome
            answer: Answer = content(result)
            return answer

        yield lambda headers: lambda picture: ask(picture, headers)


def _changed(model: PackedModel, settings: Mapping[str, Any] | None) -> PackedModel:
    return replace(model, settings={**model.settings, **(settings or {})})


def _over_http(session: requests.Session, url: str, picture: bytes, headers: Mapping[str, str]) -> Answer:
    try:
        reply = session.put(url, data=picture, headers=dict(headers), timeout=TIMEOUT)
        if not reply.ok:
            raise SetupError(f"{url} answers {reply.status_code}: {' '.join(reply.text.split())[:200]}")
        answer: Answer = reply.json()
    except requests.RequestException as error:
        raise SetupError(
            f"no answer of {url} ({type(error).__name__}): make serve starts a server, --archive FILE.mar needs none"
        ) from error
    return answer

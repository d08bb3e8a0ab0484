"""Starting: what cannot be loaded is told in one line, whichever server loads it. Nothing but the standard library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def starting(model: str) -> Iterator[None]:
    """Turn whatever is raised while that model is loaded into a RuntimeError of one line."""
    try:
        yield
    except ImportError as error:
        package = (error.name or str(error)).partition(".")[0]
        raise RuntimeError(f"{model} needs the package {package!r}, which is not installed here: {error}") from error
    except Exception as error:
        raise RuntimeError(f"{model} cannot be loaded: {error}") from error

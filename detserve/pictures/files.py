"""Files: the pictures that a list of files, folders and globs stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path

from detserve.errors import SetupError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def find(sources: Sequence[str], suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """The files that files, folders and globs stand for, each once, in the order given and sorted within each.

    A folder stands for the files in it that have one of these suffixes, in lower case, without hidden ones and without
    folders in it. Raises SetupError for a source without a picture, or one that cannot be read.
    """
    found: dict[Path, None] = {}
    for source in sources:
        try:
            paths = list(_expand(source, suffixes))
        except OSError as error:
            raise SetupError(f"cannot read {error.filename}: {error.strerror}") from error
        if not paths:
            raise SetupError(
                f"no picture at {source}: a file, a folder with {', '.join(suffixes)}, or a glob is needed"
            )
        found |= dict.fromkeys(paths)
    return list(found)


def _expand(source: str, suffixes: Sequence[str]) -> Iterator[Path]:
    path = Path(source)
    if path.is_dir():
        for each in sorted(path.iterdir()):
            if each.suffix.lower() in suffixes and not each.name.startswith(".") and each.is_file():
                yield each
    elif path.exists():  # before globs: the name of a file may have brackets
        yield path
    else:
        for match in sorted(glob(source, recursive=True)):  # noqa: PTH207  Path.glob takes no absolute ones
            if Path(match).exists():  # not a link to nowhere
                yield from _expand(match, suffixes)

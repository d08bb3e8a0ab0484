"""Pictures: which files are meant, and what their results are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path

from detserve.errors import SetupError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def find(sources: Sequence[str]) -> list[Path]:
    """The files that files, folders and globs stand for, each once, in the order given and sorted within each.

    A folder stands for the pictures in it by their suffix, hidden ones and folders in it aside. Raises SetupError for
    a source without a picture, or one that cannot be read.
    """
    found: dict[Path, None] = {}
    for source in sources:
        try:
            paths = list(_expand(source))
        except OSError as error:
            raise SetupError(f"cannot read {error.filename}: {error.strerror}") from error
        if not paths:
            raise SetupError(
                f"no picture at {source}: a file, a folder with {', '.join(SUFFIXES)}, or a glob is needed"
            )
        found |= dict.fromkeys(paths)
    return list(found)


def _expand(source: str) -> Iterator[Path]:
    path = Path(source)
    if path.is_dir():
        for each in sorted(path.iterdir()):
            if each.suffix.lower() in SUFFIXES and not each.name.startswith(".") and each.is_file():
                yield each
    elif path.exists():  # before globs: the name of a file may have brackets
        yield path
    else:
        for match in sorted(glob(source, recursive=True)):  # noqa: PTH207  Path.glob takes no absolute ones
            if Path(match).exists():  # not a link to nowhere
                yield from _expand(match)


def names(pictures: Sequence[Path]) -> list[str]:
    """A name for each picture's results: its own without the suffix, and a number where two would be the same."""
    taken: set[str] = set()
    chosen = []
    for picture in pictures:
        name, number = picture.stem, 1
        while name.casefold() in taken:  # not every file system tells a from A
            number += 1
            name = f"{picture.stem}-{number}"
        taken.add(name.casefold())
        chosen.append(name)
    return chosen

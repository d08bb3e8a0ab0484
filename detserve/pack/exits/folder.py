"""Folder: an export as a whole, which appears at once or not at all and takes the place of one of ours alone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from detserve.errors import BadArchive

MARK = ".detserve"
"""Lies in each export: what it is for, then the names of its files, a line each."""
CACHE = "__pycache__"
"""What Python itself puts beside an export that runs."""


def write(folder: Path, files: Mapping[str, bytes], target: str, keep: Iterable[str] = ()) -> None:
    """Make that folder of these files (name in it → content), in the place of an older one.

    target: the server that it is for. keep: folders of the older one that go over into the new one.
    Raises BadArchive for what `check` refuses, and when the files cannot be written; nothing has changed then.
    """
    check(folder, target)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
        new, old = scratch / "new", scratch / "old"
        try:
            for name, content in files.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_bytes(content)
            for name in keep:
                shutil.copytree(folder / name, new / name, symlinks=True, ignore=shutil.ignore_patterns(CACHE))
            (new / MARK).write_text("\n".join([_head(target), *_held(new)]) + "\n", "utf-8")
            _swap(folder, new, old)
        finally:
            if folder.exists() or not old.exists():  # else it is all that there is of the older one
                shutil.rmtree(scratch, ignore_errors=True)
    except (OSError, shutil.Error) as error:
        raise BadArchive(f"cannot write {folder}: {error}; nothing was changed there") from error


def check(folder: Path, target: str) -> None:
    """Raises BadArchive for a folder that holds anything but an export for that server, as we wrote it."""
    try:
        if not folder.is_dir():
            strange = [folder.name] if folder.exists() else []
        else:
            mark = folder / MARK
            head, *names = mark.read_text("utf-8").splitlines() if mark.is_file() else [""]
            strange = sorted({*_held(folder)} - ({*names, MARK} if head == _head(target) else set()))
    except (OSError, ValueError) as error:
        raise BadArchive(f"cannot read {folder}: {error}") from error
    if strange:
        raise BadArchive(
            f"{folder} holds something else than an export for {target}, {strange[0]} for instance: "
            "name a folder that is not there yet"
        )


def _head(target: str) -> str:
    return f"Written by detserve for {target}; files that are not named here are not its own:"


def _held(folder: Path) -> list[str]:
    """Names of all that lies in a folder and below."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    names = (path.relative_to(folder) for path in found)
    return sorted(name.as_posix() for name in names if CACHE not in name.parts)


def _swap(folder: Path, new: Path, old: Path) -> None:
    try:
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise

"""Folder: files that appear together, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from detserve.errors import BadArchive


def write(folder: Path, files: Mapping[str, bytes], ours: str) -> None:
    """Make that folder of these files (name in it → content), in the place of an older one.

    ours: a file by which an older one is known: a folder without it, unless it is empty, is somebody else's and stays.
    Raises BadArchive then, and when the files cannot be written; nothing has changed in either case.
    """
    try:
        if folder.exists() and not (folder / ours).is_file() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadArchive(f"{folder} holds something else; name a folder that is not there yet")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part") as scratch:
            for name, content in files.items():
                path = Path(scratch, "new", name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            if folder.exists():
                folder.rename(Path(scratch, "old"))
            Path(scratch, "new").rename(folder)
    except (OSError, shutil.Error) as error:
        raise BadArchive(f"cannot write {folder}: {error}; nothing was changed there") from error


def replace(path: Path, content: bytes) -> None:
    """Write one file whole, in the place of an older one. Raises BadArchive when it cannot be written."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise BadArchive(f"cannot write {path}: {error.strerror}") from error

"""Stores: where pictures lie. Folders of this machine; buckets by pyarrow's file systems, or fsspec's under them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from detserve.bulk.job import Entry
from detserve.errors import SetupError
from detserve.pictures.files import SUFFIXES

MAX_BYTES = 1 << 29
"""Larger files are not read: the most pixels that are decoded take less in any format."""
REMOTE = "://"
FOLDER, FILE = "folder", "file"
_WILD = re.compile(r"[*?[]")


class Unreadable(Exception):
    """A picture whose bytes cannot be had, and why."""


def is_remote(path: str) -> bool:
    """Whether it is a URL, of a bucket say, and no path of this machine."""
    return REMOTE in path


def is_glob(path: str) -> bool:
    """Whether it has wildcards and is not itself the name of a file."""
    return bool(_WILD.search(path)) and (is_remote(path) or not os.path.lexists(path))


def read(entry: Entry) -> bytes:
    """The bytes of a picture. Raises Unreadable, saying why there are none."""
    try:
        if (entry.size or 0) > MAX_BYTES:
            raise Unreadable(f"a file of {entry.size:,} bytes: at most {MAX_BYTES:,} are read")
        if not is_remote(entry.path):
            with open(entry.path, "rb") as file:  # noqa: PTH123  a path is made a million times
                return file.read(MAX_BYTES)
        system, path = _of_bucket(entry.path)
        with system.open_input_stream(path) as stream:
            data: bytes = stream.read(MAX_BYTES)
            return data
    except IsADirectoryError:
        raise Unreadable("a folder that cannot be listed") from None
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None


def entry_of(path: str) -> Entry:
    """A file or an object by its path; without size and time where there is none."""
    try:
        if not is_remote(path):
            status = os.stat(path)  # noqa: PTH116
            return Entry(path, status.st_size, status.st_mtime_ns // 1000)
        system, inside = _of_bucket(path)
        found = system.get_file_info(inside)
        return Entry(path, found.size, found.mtime_ns and found.mtime_ns // 1000)
    except OSError:
        return Entry(path)


def walk(top: str) -> Iterator[Entry]:
    """The pictures below a folder or a bucket's prefix, by their suffixes, without hidden ones."""
    yield from _walk_bucket(top) if is_remote(top) else _walk_folder(top)


def matches(pattern: str) -> Iterator[Entry]:
    """The pictures that a glob stands for, `**` for any folders, and those below the folders that it stands for."""
    from glob import iglob

    if not is_remote(pattern):
        for path in iglob(pattern, recursive=True):  # noqa: PTH207  Path.glob takes no absolute ones
            yield from walk(path) if os.path.isdir(path) else [entry_of(path)]  # noqa: PTH112
        return
    top = pattern[: _WILD.search(pattern).start()].rpartition("/")[0]  # type: ignore[union-attr]
    wanted = re.compile(_as_expression(pattern))
    yield from (entry for entry in _walk_bucket(top) if wanted.fullmatch(entry.path))


def _walk_folder(top: str) -> Iterator[Entry]:
    """Each folder once, however many links lead to it: links are followed, those into a circle as well."""
    seen: set[tuple[int, int]] = set()
    folders = [top]
    while folders:
        folder = folders.pop()
        below: list[tuple[bool, str]] = []
        try:
            status = os.stat(folder)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as found:
                for each in found:
                    if each.name.startswith("."):
                        continue
                    kind = _kind(each)
                    if kind == FOLDER:
                        below.append((each.is_symlink(), each.path))
                    elif kind == FILE and each.name.lower().endswith(SUFFIXES):
                        yield entry_of(each.path)
        except OSError:
            yield Entry(folder)
        # From the end: folders before links, so that a picture is named by the folder that it lies in.
        folders += [path for _, path in sorted(below, reverse=True)]


def _kind(found: os.DirEntry[str]) -> str | None:
    """FOLDER, FILE, or None for pipes and the like. A link to nowhere, or to itself, is a file that cannot be read."""
    try:
        if found.is_dir():
            return FOLDER
        return FILE if found.is_file() or (found.is_symlink() and not os.path.exists(found.path)) else None  # noqa: PTH110
    except OSError:
        return FILE


def _walk_bucket(top: str) -> Iterator[Entry]:
    """Level by level: one call of pyarrow's returns all it finds, and a bucket has millions."""
    from pyarrow.fs import FileSelector, FileType

    scheme = top.partition(REMOTE)[0]
    system, path = _of_bucket(top)
    folders = [path.rstrip("/")]
    while folders:
        try:
            found = system.get_file_info(FileSelector(folders.pop()))
        except OSError as error:
            raise SetupError(f"cannot list {top}: {error}") from error
        for each in found:
            if each.base_name.startswith("."):
                continue
            if each.type == FileType.Directory:
                folders.append(each.path)
            elif each.base_name.lower().endswith(SUFFIXES):
                url = f"{scheme}{REMOTE}{each.path.lstrip('/')}"
                yield Entry(url, each.size, each.mtime_ns and each.mtime_ns // 1000)


def _of_bucket(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    scheme, _, path = url.partition(REMOTE)
    bucket, slash, rest = path.partition("/")
    system, root = _file_system(scheme, bucket)
    return system, f"{root}{slash}{rest}"


@cache
def _file_system(scheme: str, bucket: str) -> tuple[Any, str]:
    """pyarrow's own for s3 and gs, and the bucket's path in it; for `fsspec+PROTOCOL` the package of that protocol."""
    from pyarrow.fs import FileSystem

    try:
        system, root = FileSystem.from_uri(f"{scheme}{REMOTE}{bucket}")
    except (ImportError, ValueError, OSError) as error:
        raise SetupError(f"cannot open {scheme}{REMOTE}{bucket}: {error}".splitlines()[0]) from error
    return system, root.rstrip("/")


def _as_expression(pattern: str) -> str:
    """A glob as a regular expression: `**` any folders, `*` and `?` within one, `[…]` as it is."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    found = re.findall(r"\*\*/|\*\*|\*|\?|\[[^]]+\]|.", pattern)
    return "".join(parts.get(part, part if part[0] == "[" and len(part) > 1 else re.escape(part)) for part in found)

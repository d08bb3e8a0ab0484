"""Stores: where pictures lie. Folders of this machine; buckets by pyarrow's file systems, or fsspec's under them."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeVar

from detserve.bulk.globs import WILD, Glob
from detserve.bulk.job import TIMES, Entry
from detserve.errors import SetupError
from detserve.pictures.files import SUFFIXES

MAX_BYTES = 1 << 29
"""Larger files are not read: the most pixels that are decoded take less in any format."""
REMOTE = "://"
FOLDER, FILE = "folder", "file"
S = TypeVar("S")
T = TypeVar("T")
PAUSES = (1.0, 4.0)
"""Seconds before a bucket is asked once more, beside what its client tries by itself."""


class Unreadable(Exception):
    """A picture whose bytes cannot be had, and why."""


def is_remote(path: str) -> bool:
    """Whether it is a URL, of a bucket say, and no path of this machine."""
    return REMOTE in path


def is_glob(path: str) -> bool:
    """Whether it has wildcards and is not itself the name of a file."""
    return bool(WILD.search(path)) and (is_remote(path) or not os.path.lexists(path))


def read(entry: Entry) -> bytes:
    """The bytes of a picture. Raises Unreadable, saying why there are none."""
    try:
        if (entry.size or 0) > MAX_BYTES:
            raise Unreadable(f"a file of {entry.size:,} bytes: at most {MAX_BYTES:,} are read")
        return patient(_read_object, entry) if is_remote(entry.path) else _read_file(entry.path)
    except IsADirectoryError:
        raise Unreadable("a folder that cannot be listed") from None
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None


def _read_file(path: str) -> bytes:
    # A pipe that nobody writes to would never be opened.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("not a regular file")
        # What is asked for is allocated: half a gigabyte for each picture would cost more than to read it.
        return file.read(min(status.st_size, MAX_BYTES))


def _read_object(entry: Entry) -> bytes:
    system, path = _of_bucket(entry.path)
    known = entry.size or 0
    with system.open_input_stream(path) as stream:
        data: bytes = stream.read(known + 1)
        return data if len(data) <= known else data + stream.read(MAX_BYTES - len(data))


def patient(ask: Callable[[S], T], what: S) -> T:
    """What a bucket answers, asked again after a pause where it fails, unless there is no such object."""
    for pause in PAUSES:
        try:
            return ask(what)
        except FileNotFoundError:
            raise
        except OSError:
            time.sleep(pause)
    return ask(what)


def entry_of(path: str) -> Entry:
    """A file or an object by its path; without size and time where there is none, or none can be had."""
    try:
        if not is_remote(path):
            status = os.stat(path)  # noqa: PTH116
            return Entry(path, status.st_size, _micros(status.st_mtime_ns))
        found = patient(_ask, path)
        return Entry(path, found.size, _micros(found.mtime_ns))
    except (OSError, ValueError, SetupError):  # ValueError: a path with a zero byte
        return Entry(path)


def _ask(url: str) -> Any:
    system, path = _of_bucket(url)
    return system.get_file_info(path)


def _micros(nanoseconds: int | None) -> int | None:
    """A time of a file system; None where it is no date."""
    if nanoseconds is None:
        return None
    return nanoseconds // 1000 if nanoseconds // 1000 in TIMES else None


def walk(top: str) -> Iterator[Entry]:
    """The pictures below a folder or a bucket's prefix, by their suffixes, without hidden ones."""
    return _walk_bucket(top) if is_remote(top) else _walk_folder(top)


def matches(glob: Glob) -> Iterator[Entry]:
    """The pictures that a glob stands for, by their suffixes, and those below the folders that it stands for."""
    if is_remote(glob.top):
        return _walk_bucket(glob.top, glob)
    return _walk_folder(glob.top, glob) if os.path.isdir(glob.top) else iter(())  # noqa: PTH112


def _walk_folder(top: str, glob: Glob | None = None) -> Iterator[Entry]:
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
                        if glob is None or glob.leads_to(each.path):
                            below.append((each.is_symlink(), each.path))
                    elif kind == FILE and _is_wanted(each.name, each.path, glob):
                        yield entry_of(each.path)
        except OSError:
            yield Entry(folder)
        # From the end: folders before links, so that a picture is named by the folder that it lies in.
        folders += [path for _, path in sorted(below, reverse=True)]


def _is_wanted(name: str, path: str, glob: Glob | None) -> bool:
    return name.lower().endswith(SUFFIXES) and (glob is None or glob.matches(path))


def _kind(found: os.DirEntry[str]) -> str | None:
    """FOLDER, FILE, or None for pipes and the like. A link to nowhere, or to itself, is a file that cannot be read."""
    try:
        if found.is_dir():
            return FOLDER
        return FILE if found.is_file() or (found.is_symlink() and not os.path.exists(found.path)) else None  # noqa: PTH110
    except OSError:
        return FILE


def _walk_bucket(top: str, glob: Glob | None = None) -> Iterator[Entry]:
    """Level by level: one call of pyarrow's returns all it finds, and a bucket has millions.

    Raises SetupError where the prefix cannot be listed; what cannot be listed below it is an entry of its own.
    """
    from pyarrow.fs import FileSelector, FileType

    scheme = top.partition(REMOTE)[0]
    system, path = _of_bucket(top)
    first = path.rstrip("/")
    folders = [first]
    while folders:
        folder = folders.pop()
        try:
            found = patient(lambda path: system.get_file_info(FileSelector(path)), folder)
        except OSError as error:
            if folder == first:
                raise SetupError(f"cannot list {top}: {error}".splitlines()[0]) from error
            yield Entry(f"{scheme}{REMOTE}{folder.lstrip('/')}")
            continue
        for each in found:
            if each.base_name.startswith("."):
                continue
            url = f"{scheme}{REMOTE}{each.path.lstrip('/')}"
            if each.type == FileType.Directory:
                if glob is None or glob.leads_to(url):
                    folders.append(each.path)
            elif _is_wanted(each.base_name, url, glob):
                yield Entry(url, each.size, _micros(each.mtime_ns))


def reach(url: str) -> None:
    """Raise SetupError where there is no file system for a URL."""
    _of_bucket(url)


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

"""Manifest: a list of pictures as Parquet, CSV, or a path a line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detserve.bulk.job import TIMES, Entry
from detserve.bulk.rows import EPOCH
from detserve.bulk.stores import entry_of, is_remote
from detserve.errors import SetupError

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".parquet", ".csv", ".txt")
COLUMNS = ("path", "size", "mtime", "etag")
ASKED_AT_ONCE = 32
"""Objects of a bucket whose size is asked for at a time, where the manifest does not say it."""
ROWS = 4096


def is_one(path: str) -> bool:
    """Whether it is a manifest by its suffix."""
    return path.lower().endswith(SUFFIXES)


def check(path: Path) -> None:
    """Raise SetupError where it cannot be read, or has no column `path`."""
    try:
        if path.suffix.lower() == ".txt":
            path.open("rb").close()
        else:
            _names(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def read(path: Path) -> Iterator[Entry]:
    """The pictures of a manifest, in its order. Raises SetupError when it is none, or one of its rows is not sound.

    Parquet and CSV have a column `path`, and `size` with `mtime` or `etag` where they are known: then nobody is asked
    for them again. mtime is a time, or microseconds since 1970. A relative path counts from the folder that the command
    was started in.
    """
    number = 0
    try:
        for columns in _lines(path) if path.suffix.lower() == ".txt" else _tables(path):
            known = []
            for row in zip(*columns, strict=True):
                number += 1
                known.append(_entry(*row))
            yield from _asked(known)
    except _Unsound as error:
        raise SetupError(f"row {number} of the manifest {path}: {error}") from None
    except (OSError, ValueError) as error:  # pyarrow's errors are either
        raise _unreadable(path, error) from error


class _Unsound(Exception):
    """A row that stands for no picture, and why."""


def _unreadable(path: Path, error: Exception) -> SetupError:
    return SetupError(f"cannot read the manifest {path}: {error}".splitlines()[0])


def _lines(path: Path) -> Iterator[Sequence[Sequence[Any]]]:
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        while lines := list(islice(file, ROWS)):
            paths = [line.rstrip("\r\n") for line in lines if line.strip()]
            yield [paths, *[[None] * len(paths)] * (len(COLUMNS) - 1)]


def _names(path: Path) -> list[str]:
    """Those of COLUMNS that it has."""
    from pyarrow import csv, parquet

    of_csv = path.suffix.lower() == ".csv"
    names = csv.open_csv(path).schema.names if of_csv else parquet.read_schema(path).names
    if "path" not in names:
        raise SetupError(f"the manifest {path} has no column 'path', but {', '.join(names)}")
    return [name for name in COLUMNS if name in names]


def _tables(path: Path) -> Iterator[Sequence[Sequence[Any]]]:
    """The columns of some rows at a time."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    names = _names(path)
    if path.suffix.lower() == ".csv":
        # As text: what they are would be guessed from the first of them.
        options = csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=names,
            null_values=[""],
            strings_can_be_null=True,
        )
        batches: Any = csv.open_csv(path, convert_options=options)
    else:
        batches = parquet.ParquetFile(path).iter_batches(ROWS, columns=names)
    kinds = dict.fromkeys(COLUMNS, pa.string()) | {"size": pa.int64()}
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS):
            some = batch.slice(start, ROWS)
            yield [
                [None] * some.num_rows
                if name not in names
                else _micros(some[name])
                if name == "mtime"
                else some[name].cast(kinds[name]).to_pylist()
                for name in COLUMNS
            ]


def _micros(times: pa.Array) -> list[int | None]:
    """Times, or numbers, or either as text, in microseconds since 1970; without a zone they are in UTC."""
    import pyarrow as pa

    if pa.types.is_timestamp(times.type) or pa.types.is_date(times.type):
        zone = getattr(times.type, "tz", None)
        times = times.cast(pa.timestamp("us", zone), safe=False)
    if pa.types.is_string(times.type) or pa.types.is_large_string(times.type):
        return [text and _micros_of(text) for text in times.to_pylist()]
    found: list[int | None] = times.cast(pa.int64()).to_pylist()
    return found


def _micros_of(text: str) -> int:
    if text.lstrip("-").isdecimal():
        return int(text)
    time = datetime.fromisoformat(text)
    return (time.replace(tzinfo=time.tzinfo or UTC) - EPOCH) // timedelta(microseconds=1)


def _asked(known: Sequence[Entry]) -> Iterator[Entry]:
    """The same, with size and time of those that the manifest has none of."""
    open_questions = [entry.path for entry in known if entry.size is None and is_remote(entry.path)]
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        asked = pool.map(entry_of, open_questions)
        for entry in known:
            if entry.size is not None:
                yield entry
            else:
                yield next(asked) if is_remote(entry.path) else entry_of(entry.path)


def _entry(path: str | None, size: int | None, mtime: int | None, etag: str | None) -> Entry:
    if not path:
        raise _Unsound("no path")
    if mtime and mtime not in TIMES:
        raise _Unsound(f"mtime {mtime} is no date in microseconds since 1970")
    path = path if is_remote(path) else os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118
    if size is None or (mtime is None and not etag):
        return Entry(path)
    return Entry(path, size, mtime, etag or None)

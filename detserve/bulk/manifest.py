"""Manifest: a list of pictures as Parquet, CSV, or a path a line."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from detserve.bulk.job import Entry
from detserve.bulk.stores import entry_of, is_remote
from detserve.errors import SetupError

SUFFIXES = (".parquet", ".csv", ".txt")
COLUMNS = ("path", "size", "mtime", "etag")
ASKED_AT_ONCE = 32
"""Objects of a bucket whose size is asked for at a time, where the manifest does not say it."""
ROWS = 4096


def read(path: Path) -> Iterator[Entry]:
    """The pictures of a manifest, in its order. Raises SetupError when it is none.

    Parquet and CSV have a column `path`, and `size` with `mtime` or `etag` where they are known: then nobody is asked
    for them again. A relative path counts from the folder that the command was started in.
    """
    try:
        for rows in _lines(path) if path.suffix == ".txt" else _tables(path):
            yield from _entries(rows)
    except (OSError, ValueError) as error:  # pyarrow's errors are either
        raise SetupError(f"cannot read the manifest {path}: {error}".splitlines()[0]) from error


def _lines(path: Path) -> Iterator[list[dict[str, Any]]]:
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        while lines := list(islice(file, ROWS)):
            yield [{"path": line.rstrip("\r\n")} for line in lines if line.strip()]


def _tables(path: Path) -> Iterator[list[dict[str, Any]]]:
    from pyarrow import csv, parquet

    if path.suffix == ".csv":
        batches: Any = csv.open_csv(path)
        names = batches.schema.names
    else:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        if "path" in names:
            batches = file.iter_batches(ROWS, columns=[name for name in COLUMNS if name in names])
    if "path" not in names:
        raise SetupError(f"the manifest {path} has no column 'path', but {', '.join(names)}")
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS):
            yield batch.slice(start, ROWS).to_pylist()


def _entries(rows: list[dict[str, Any]]) -> Iterator[Entry]:
    known = [_entry(row) for row in rows]
    open_questions = [entry.path for entry in known if entry.size is None and is_remote(entry.path)]
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        asked = pool.map(entry_of, open_questions)
        for entry in known:
            if entry.size is not None:
                yield entry
            else:
                yield next(asked) if is_remote(entry.path) else entry_of(entry.path)


def _entry(row: dict[str, Any]) -> Entry:
    path = str(row["path"])
    path = path if is_remote(path) else str(Path.cwd() / path)
    size, mtime, etag = (row.get(name) for name in COLUMNS[1:])
    if size is None or (mtime is None and not etag):
        return Entry(path)
    if isinstance(mtime, datetime):
        mtime = int(mtime.replace(tzinfo=mtime.tzinfo or UTC).timestamp() * 1_000_000)
    return Entry(path, int(size), None if mtime is None else int(mtime), etag and str(etag))

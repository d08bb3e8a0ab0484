"""Todo: the batches of a run in Parquet files, a row group each, for actors that read them by number.

The pictures that are to be looked at stand nowhere in a cluster's memory: a hundred million paths take ten gigabytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from detserve.bulk.job import Entry

BATCHES = 256
"""Row groups of a file: to read one of them, the places of all are read."""


def write(batches: Iterable[Sequence[Entry]], folder: Path) -> int:
    """Write the batches into a folder → how many there are. Raises OSError."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema({"path": pa.binary(), "size": pa.int64(), "mtime": pa.int64(), "etag": pa.string()})
    stream = enumerate(batches)
    count = 0
    while some := list(islice(stream, BATCHES)):
        with parquet.ParquetWriter(_file(folder, some[0][0]), schema, compression="zstd") as writer:
            for _, batch in some:
                rows = [entry._asdict() | {"path": os.fsencode(entry.path)} for entry in batch]
                writer.write_table(pa.Table.from_pylist(rows, schema))
        count += len(some)
    return count


def read(folder: Path, number: int) -> list[Entry]:
    """Batch `number`. Raises OSError where another run has taken the folder away."""
    from pyarrow import parquet

    with parquet.ParquetFile(_file(folder, number)) as file:
        rows = file.read_row_group(number % BATCHES).to_pylist()
    return [Entry(**row | {"path": os.fsdecode(row["path"])}) for row in rows]


def _file(folder: Path, number: int) -> Path:
    return folder / f"todo-{number // BATCHES:06}.parquet"

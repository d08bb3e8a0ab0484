"""Shards: files of rows in the folder of results, there whole or not at all, and read again to know what is done.

A shard is written into the scratch folder of its run, and moved from there. A run that begins takes away the scratch
folders of those before it: what is left of a killed run, on whatever machine, can then move nothing any more. So the
rows that a run finds when it begins are all that there will be, and none is written twice.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import compress
from pathlib import Path
from tempfile import NamedTemporaryFile, mkdtemp
from typing import Any

from detserve.bulk.job import FORMATS, Entry, Job
from detserve.bulk.rows import ERROR, ERROR_COLUMNS, KEY_COLUMNS, Row, micros, schema
from detserve.errors import SetupError

SCRATCH, OLD = ".run-", ".old-"
AT_ONCE = 4
"""Shards that are read at a time."""


class Superseded(OSError):
    """Another run has taken over the folder of results."""


def begin(out: Path) -> Path:
    """Make the folder of results and a scratch folder for a run in it; end what is left of earlier runs → scratch.

    Raises SetupError when the folder cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for old in out.glob(f"{SCRATCH}*"):
            # At once: a run that lives would write into a folder that is being taken away.
            with suppress(FileNotFoundError):  # by another run that begins
                old.rename(out / f"{OLD}{old.name}")
        for old in out.glob(f"{OLD}*"):
            shutil.rmtree(old, ignore_errors=True)
        scratch = Path(mkdtemp(dir=out, prefix=SCRATCH))
        scratch.chmod(0o755)
    except OSError as error:
        raise SetupError(f"cannot write to {out}: {error.strerror}") from error
    return scratch


def end(scratch: Path) -> None:
    """Take away the scratch folder."""
    shutil.rmtree(scratch, ignore_errors=True)


def write(rows: Sequence[Row], entries: Sequence[Entry], job: Job) -> None:
    """Write one shard, flushed to the disk before it has its name.

    Raises Superseded where another run has begun, OSError when it cannot be written, whatever is raised for rows that
    fit no shard; then nothing is left of it.
    """
    name = job.shard(entries)
    part: Path | None = None
    try:
        # Of its own: Ray may do a batch again while a node that it has lost is still at it.
        with NamedTemporaryFile(dir=job.scratch, prefix=name, delete=False) as stream:
            part = Path(stream.name)
            part.chmod(0o644)
            _dump(rows, job.format, stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(job.out / name)
    except FileNotFoundError:
        raise Superseded(f"another run has taken over {job.out}") from None
    except BaseException:
        if part:
            part.unlink(missing_ok=True)
        raise
    _sync_folder(job.out)


def _dump(rows: Sequence[Row], form: str, stream: Any) -> None:
    if form == "jsonl":
        for row in rows:
            line = json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=lambda time: time.isoformat())
            stream.write(f"{line}\n".encode())
        return
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(list(rows), schema()), stream, compression="zstd")


def _sync_folder(folder: Path) -> None:
    """A name is on the disk when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def forget(out: Path, sha256: str, kinds: Sequence[str], scratch: Path) -> None:
    """Take away the rows of this archive that say one of these types of errors: their pictures are not done then.

    Each shard is replaced as a whole. Raises SetupError where that cannot be.
    """
    for path in _paths(out):
        lost = [
            archive == sha256 and kind in kinds for archive, kind in _rows_of(path, ("archive_sha256", "error_type"))
        ]
        if not any(lost):
            continue
        part = scratch / path.name
        try:
            if not all(lost):
                _copy(path, part, [not each for each in lost])
                part.replace(path)
            else:
                path.unlink()
        except OSError as error:
            raise SetupError(f"cannot write to {out}: {error.strerror or error}") from error


def _copy(path: Path, part: Path, kept: Sequence[bool]) -> None:
    """Write those rows of a shard that are to be kept."""
    from pyarrow import parquet

    with part.open("wb") as stream:
        if path.suffix == ".jsonl":
            stream.writelines(compress(path.read_bytes().splitlines(keepends=True), kept))
        else:
            parquet.write_table(parquet.read_table(path).filter(list(kept)), stream, compression="zstd")
        stream.flush()
        os.fsync(stream.fileno())


def done(out: Path, sha256: str) -> Iterator[bytes]:
    """The keys of the pictures that this archive has a row of."""
    for rows in _read(out, KEY_COLUMNS):
        yield from (Entry(*key).key for *key, archive in rows if archive == sha256)


def errors(out: Path, sha256: str) -> Iterator[Row]:
    """The path, type and message of each picture that failed with this archive."""
    for rows in _read(out, (*ERROR_COLUMNS, "archive_sha256", "status")):
        for *told, archive, status in rows:
            if archive == sha256 and status == ERROR:
                yield dict(zip(ERROR_COLUMNS, told, strict=True))


def _read(out: Path, columns: Sequence[str]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Those columns of all shards, a list of rows each; times in microseconds since 1970."""
    paths = _paths(out)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, len(paths), 64):  # so that only a few are held at a time
            yield from pool.map(lambda path: _rows_of(path, columns), paths[start : start + 64])


def _paths(out: Path) -> list[Path]:
    return sorted(path for form in FORMATS for path in out.glob(f"part-*.{form}"))


def _rows_of(path: Path, columns: Sequence[str]) -> Sequence[tuple[Any, ...]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        if path.suffix == ".jsonl":
            with path.open("rb") as lines:
                return [tuple(_value(row, name) for name in columns) for row in map(json.loads, lines)]
        table = parquet.read_table(path, columns=list(columns))
        # Numbers of Arrow's become Python's ten times as fast as its times do.
        found = [table[name].cast(pa.int64()) if name == "mtime" else table[name] for name in columns]
        return list(zip(*(column.to_pylist() for column in found), strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise SetupError(f"{path} is no whole shard ({error}); move it away to do its pictures again") from error


def _value(row: Row, name: str) -> Any:
    return micros(row[name]) if name == "mtime" and row[name] else row[name]

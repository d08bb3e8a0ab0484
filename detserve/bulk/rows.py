"""Rows: what a shard says of each picture. docs/bulk.md describes the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from detserve.bulk.job import Entry, Job

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
OK, ERROR = "ok", "error"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KEY_COLUMNS = ("path", "size", "mtime", "etag", "archive_sha256")
"""What says whether a picture is done."""
ERROR_COLUMNS = ("path", "error_type", "error_message")


def schema() -> pa.Schema:
    """The columns of a shard, one schema for all models: what a model does not answer is null."""
    import pyarrow as pa

    numbers, text = pa.list_(pa.float64()), pa.string()
    detection = {
        "xywh_ratio": numbers,
        "conf": pa.float64(),
        "landmarks_ratio": numbers,
        "quad_ratio": numbers,
        "polygon_ratio": numbers,
        "text": text,
        "text_conf": pa.float64(),
        "label": text,
        "label_id": pa.int64(),
        "mask_rle": pa.struct({"size": pa.list_(pa.int32()), "counts": text}),
        "polygons_ratio": pa.list_(numbers),
    }
    columns = {
        "path": text,
        "size": pa.int64(),
        "mtime": pa.timestamp("us", "UTC"),
        "etag": text,
        "width": pa.int32(),
        "height": pa.int32(),
        "model": text,
        "version": text,
        "archive_sha256": text,
        "status": text,
        "error_type": text,
        "error_message": text,
        "detections": pa.list_(pa.struct(detection)),
        "ms": pa.struct(dict.fromkeys(("read", "decode", "infer", "post"), pa.float32())),
    }
    return pa.schema(columns)


def row(
    entry: Entry,
    job: Job,
    outcome: Sequence[Mapping[str, Any]] | tuple[str, str],
    size: tuple[int, int] | None = None,
    ms: Mapping[str, float] | None = None,
) -> Row:
    """The row of a picture. outcome: its detections as they are answered, or an error's type and message.

    size: (width, height) of the upright picture; ms: of each stage.
    """
    failed = isinstance(outcome, tuple)
    kind, message = outcome if isinstance(outcome, tuple) else (None, None)
    width, height = size or (None, None)
    return {
        "path": entry.shown,
        "size": entry.size,
        "mtime": None if entry.mtime is None else EPOCH + timedelta(microseconds=entry.mtime),
        "etag": entry.etag,
        "width": width,
        "height": height,
        "model": job.model,
        "version": job.version,
        "archive_sha256": job.sha256,
        "status": ERROR if failed else OK,
        "error_type": kind,
        "error_message": message,
        "detections": None if failed else outcome,
        "ms": ms,
    }


def micros(text: str) -> int:
    """The time of a row in JSON, in microseconds since 1970."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)

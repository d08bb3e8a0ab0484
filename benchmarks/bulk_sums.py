"""What a hundred million pictures take, from the rows of a run of bulk.py that is done.

.venv/bin/python -m benchmarks.bulk_sums OUT --rate 41 [--nodes 4] [--cores 16] [--pictures 100000000] [--keys 10000000]

--rate: pictures a second of one process, as the run said at its end. Measured here, on the run's own rows and pictures:
bytes of a picture and of its row, how fast pictures are listed, and how fast a run that goes on reads what is done. The
set of what is done has so many other keys beside, as a large run has.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyarrow import parquet

from detserve.bench.report import align
from detserve.bulk import shards, todo
from detserve.bulk.command import SHARD
from detserve.bulk.job import Entry
from detserve.bulk.keys import Keys
from detserve.bulk.sources import Listing, batches

ADDED = 200_000


def some_keys(count: int) -> Iterator[bytes]:
    """Keys that no picture has."""
    return (os.urandom(16) for _ in range(count))


def each(work: Callable[[], Any], count: int) -> float:
    """Seconds of one of so many."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / count


def main() -> int:
    """Measure, multiply, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--cores", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=100_000_000)
    parser.add_argument("--keys", type=int, default=10_000_000)
    options = parser.parse_args()
    files = list(options.out.glob("part-*.parquet"))
    columns = [parquet.read_table(path, columns=["path", "size", "archive_sha256"]) for path in files]
    paths = [path for table in columns for path in table["path"].to_pylist()]
    sizes = [size for table in columns for size in table["size"].to_pylist() if size]
    picture_bytes, row_bytes = sum(sizes) / len(sizes), sum(path.stat().st_size for path in files) / len(paths)

    keys, done = Keys(), shards.done(options.out, columns[0]["archive_sha256"][0].as_py())
    merging = each(lambda: keys.update(some_keys(options.keys)), options.keys)
    reading = each(lambda: list(done), len(paths))
    listed: list[Entry] = []
    listing = each(lambda: listed.extend(Listing([os.path.commonpath(paths)], keys)), len(set(paths)))
    adding = each(lambda: [keys.add(key) for key in some_keys(ADDED)], ADDED)  # as the set of what is listed does
    with tempfile.TemporaryDirectory() as folder:
        places = list(todo.write(batches(listed, SHARD, 1), Path(folder)))
    todo_bytes = sum(place.length for place in places) / len(listed)
    listed_a_second, read_a_second = 1 / (listing + adding), 1 / (reading + merging)

    count, cores = options.pictures, options.nodes * options.cores
    seconds = count / (options.rate * cores)
    rows = [
        ["measured, of", f"{len(paths):,} pictures"],
        ["bytes of a picture", f"{picture_bytes:,.0f}"],
        ["bytes of a row", f"{row_bytes:,.0f}"],
        ["bytes of a picture in the list of batches", f"{todo_bytes:.0f}"],
        [f"pictures listed a second, beside {options.keys:,} others", f"{listed_a_second:,.0f}"],
        [f"rows read a second, to go on, beside {options.keys:,} others", f"{read_a_second:,.0f}"],
        ["", ""],
        ["for", f"{count:,} pictures on {options.nodes} nodes of {options.cores} cores, {options.rate:g}/s a core"],
        ["hours of a core", f"{count / options.rate / 3600:,.0f}"],
        ["hours of all", f"{seconds / 3600:.1f}"],
        ["terabytes read", f"{count * picture_bytes / 1e12:.1f}"],
        ["gigabits a second into each node", f"{count * picture_bytes * 8 / 1e9 / seconds / options.nodes:.1f}"],
        ["gigabytes of rows", f"{count * row_bytes / 1e9:.0f}"],
        ["shards", f"{count / SHARD:,.0f}"],
        ["minutes of listing", f"{count / listed_a_second / 60:.0f}"],
        ["minutes of reading what is done, at the end", f"{count / read_a_second / 60:.0f}"],
        ["gigabytes of keys in the main process", f"{2 * 16 * count / 1e9:.1f}"],
        ["gigabytes of the list of batches", f"{count * todo_bytes / 1e9:.1f}"],
    ]
    print(align(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a hundred million pictures take, from the rows of a run of bulk.py that is done.

.venv/bin/python -m benchmarks.bulk_sums OUT --rate 41 [--nodes 4] [--cores 16] [--pictures 100000000]

--rate: pictures a second of one process, as the run said at its end. Measured here, on the run's own rows and pictures:
bytes of a picture and of its row, how fast pictures are listed, and how fast a run that goes on reads what is done.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from pyarrow import parquet

from detserve.bench.report import align
from detserve.bulk import shards, todo
from detserve.bulk.command import SHARD
from detserve.bulk.keys import Keys
from detserve.bulk.sources import Listing, batches


def main() -> int:
    """Measure, multiply, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--cores", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=100_000_000)
    options = parser.parse_args()
    files = list(options.out.glob("part-*.parquet"))
    columns = [parquet.read_table(path, columns=["path", "size", "archive_sha256"]) for path in files]
    paths = [path for table in columns for path in table["path"].to_pylist()]
    sizes = [size for table in columns for size in table["size"].to_pylist() if size]
    picture_bytes, row_bytes = sum(sizes) / len(sizes), sum(path.stat().st_size for path in files) / len(paths)

    start = time.perf_counter()
    keys = Keys()
    keys.update(shards.done(options.out, columns[0]["archive_sha256"][0].as_py()))
    resumed = len(keys) / (time.perf_counter() - start)
    start = time.perf_counter()
    listed = list(Listing([os.path.commonpath(paths)], Keys()))
    listing = len(listed) / (time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        todo.write(batches(listed, SHARD, 1), Path(folder))
        todo_bytes = sum(path.stat().st_size for path in Path(folder).iterdir()) / len(listed)

    count, cores = options.pictures, options.nodes * options.cores
    seconds = count / (options.rate * cores)
    rows = [
        ["measured, of", f"{len(paths):,} pictures"],
        ["bytes of a picture", f"{picture_bytes:,.0f}"],
        ["bytes of a row", f"{row_bytes:,.0f}"],
        ["bytes of a picture in the list of batches", f"{todo_bytes:.0f}"],
        ["pictures listed a second", f"{listing:,.0f}"],
        ["rows read a second, to go on", f"{resumed:,.0f}"],
        ["", ""],
        ["for", f"{count:,} pictures on {options.nodes} nodes of {options.cores} cores, {options.rate:g}/s a core"],
        ["hours of a core", f"{count / options.rate / 3600:,.0f}"],
        ["hours of all", f"{seconds / 3600:.1f}"],
        ["terabytes read", f"{count * picture_bytes / 1e12:.1f}"],
        ["gigabits a second into each node", f"{count * picture_bytes * 8 / 1e9 / seconds / options.nodes:.1f}"],
        ["gigabytes of rows", f"{count * row_bytes / 1e9:.0f}"],
        ["shards", f"{count / SHARD:,.0f}"],
        ["minutes of listing", f"{count / listing / 60:.0f}"],
        ["minutes of reading what is done, at the end", f"{count / resumed / 60:.0f}"],
        ["gigabytes of keys in the main process", f"{2 * 16 * count / 1e9:.1f}"],
        ["gigabytes of the list of batches", f"{count * todo_bytes / 1e9:.1f}"],
    ]
    print(align(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

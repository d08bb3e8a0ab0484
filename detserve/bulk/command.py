"""Run an archive over very many pictures, without a server, into Parquet. The same command goes on where it ended.

python bulk.py photos/ --model fd1 --out faces/                     a process for each core of this machine
python bulk.py 'scans/**/*.png' list.csv --model ocr1 --out text/   globs; manifests: .parquet, .csv, .txt
python bulk.py s3://bucket/photos --model fd1 --out faces/          as pyarrow's file systems find credentials
python bulk.py photos/ --model fd1 --out faces/ --ray auto          on the Ray cluster of this machine; docs/bulk.md
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detserve.bulk.job import FORMATS
from detserve.errors import SetupError
from detserve.places import MODEL_STORE, installing, packing

if TYPE_CHECKING:
    from detserve.archives.archive import Archive
    from detserve.bulk.job import Job
    from detserve.bulk.local import Local
    from detserve.bulk.ray_job import OnRay
    from detserve.bulk.report import Progress, Summary
    from detserve.bulk.sources import Listing

SHARD = 1000
"""Pictures of a shard: what a killed process has to do again at most."""
THINGS = {"face": "faces", "text": "regions of text", "object": "objects"}
LINES = "lines of text"
"""What an archive with a reader finds."""


def main(arguments: Sequence[str] | None = None, prog: str = "bulk.py") -> int:
    """Run the command line → exit status: 0 where each picture has its row, whatever it says; 1 where not."""
    name = prog.removesuffix(".py")
    options = parse(arguments, prog)
    try:
        with _ended_by_sigterm():
            faults = run(options)
        for fault in faults:
            print(f"{name}: {fault}", file=sys.stderr)
        return int(bool(faults))
    except SetupError as error:
        print(f"{name}: {error}", file=sys.stderr)
    except ImportError as error:
        extra = "ray" if error.name == "ray" else "bulk"
        print(f"{name}: the package {error.name!r} is missing: {installing(extra)}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{name}: interrupted; the same command goes on from here", file=sys.stderr)
    return 1


def run(options: argparse.Namespace) -> list[str]:
    """List the pictures, do those that are not done, report → what was wrong with sources, all others being done.

    Raises SetupError where it cannot begin or go on.
    """
    import pyarrow  # noqa: F401  missed now, not after minutes

    from detserve.archives import archive, checksums
    from detserve.bulk import shards, sources
    from detserve.bulk.job import Job
    from detserve.bulk.keys import Keys
    from detserve.bulk.report import Progress, Summary
    from detserve.bulk.sources import Listing

    if "://" in options.out:
        raise SetupError(f"--out {options.out}: shards are moved into place, which takes a folder, here or on a mount")
    out = Path(options.out).absolute()
    if options.errors_to and not os.access(options.errors_to.absolute().parent, os.W_OK):
        raise SetupError(f"--errors-to {options.errors_to}: its folder is not there, or cannot be written to")
    sources.check(options.pictures)
    path = options.archive or MODEL_STORE / f"{options.model}.mar"
    if not path.is_file():
        raise SetupError(f"no {path}: {packing(options.model)}")
    sha256, packed = checksums.check_sum(path), archive.read(path)
    scratch = shards.begin(out)  # before anything is read there: nobody else writes from here on
    try:
        job = Job(
            model=packed.name,
            version=packed.version,
            sha256=sha256,
            archive=path,
            out=out,
            scratch=scratch,
            format=options.format,
        )
        hands = _hands(job, packed, options)
        if options.again:
            shards.forget(out, sha256, options.again, scratch)
        done, progress = Keys(), Progress()
        done.update(progress.reading(shards.done(out, sha256)))
        listing = Listing(options.pictures, done, options.limit, options.sample)
        try:
            work(hands, options.shard, listing, progress, Summary(_things(packed)))
        finally:
            if options.errors_to:
                write_errors(job, options.errors_to)
    finally:
        shards.end(scratch)
    return listing.faults


def work(hands: Local | OnRay, shard: int, listing: Listing, progress: Progress, summary: Summary) -> None:
    """Do all pictures, showing how far it is; print the summary, also of a run that ends early."""
    try:
        with hands:
            try:
                with closing(hands.run(listing, shard)) as tallies:
                    for tally in tallies:
                        if tally:
                            summary.add(tally)
                        done, failed = hands.progress()
                        whole = summary.whole
                        progress.show(whole.pictures + done, whole.errors.total() + failed, listing)
            except (KeyboardInterrupt, SetupError):
                for tally in hands.stop():
                    summary.add(tally)
                raise
    finally:
        progress.close()
        print(summary.text(hands.processes, listing.skipped), flush=True)


def write_errors(job: Job, path: Path) -> None:
    """Write a line of JSON for each picture that failed, in this run or before. Raises SetupError when it cannot."""
    from detserve.bulk import shards

    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in shards.errors(job.out, job.sha256))
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SetupError(f"cannot write {path}: {error.strerror}; all rows are in {job.out}") from error


def _hands(job: Job, packed: Archive, options: argparse.Namespace) -> Local | OnRay:
    """What does the work: processes here, or actors on Ray. On a GPU few of them, and many pictures at a time."""
    from detserve.core.machine import WORKERS_A_GPU, cores, gpus
    from detserve.serve.defaults import GPU_BATCH, ON_GPU

    wants_gpu = packed.recipe.detect.backend in ON_GPU
    if options.ray:
        from detserve.bulk.ray_job import OnRay

        return OnRay(job, options.ray, options.processes, GPU_BATCH if wants_gpu else 0)
    from detserve.bulk.local import Local
    from detserve.bulk.unpacked import unpack

    here = gpus() if wants_gpu else 0
    batch = min(GPU_BATCH, packed.recipe.detect.plan.max_batch) if here else 1
    job = replace(job, archive=unpack(job.sha256, job.archive), batch=batch)
    return Local(job, options.processes or here * WORKERS_A_GPU or cores(), here)


def _things(packed: Archive) -> str:
    """What the model of an archive finds."""
    from detserve import models

    if packed.recipe.read:
        return LINES
    known = models.catalogue().get(packed.recipe.detect.model)
    return THINGS.get(known.task, "detections") if known else "detections"


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: what is done is kept."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def share(text: str) -> float:
    """The type of --sample."""
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError
    return value


def kinds(text: str) -> list[str]:
    """The type of --again."""
    return text.split(",")


def count(text: str) -> int:
    """The type of a number of pictures or processes."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def parse(arguments: Sequence[str] | None, prog: str = "bulk.py") -> argparse.Namespace:
    """The command line."""
    told = (__doc__ or "").replace("python bulk.py", f"python {prog}" if prog.endswith(".py") else prog)
    parser = argparse.ArgumentParser(prog=prog, description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("pictures", nargs="+", metavar="PATH|GLOB|URL|MANIFEST", help="a folder with all below it, a picture, a list")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", default="fd1", metavar="NAME", help="of the archive in model_store/ (%(default)s)")
    which.add_argument("--archive", type=Path, metavar="FILE.mar", help="the archive, where it lies elsewhere")
    add("--out", required=True, metavar="DIR", help="of the shards, and what is read to know what is done")
    add("--format", choices=FORMATS, default=FORMATS[0], help="of the shards (%(default)s)")
    add("--shard", type=count, default=SHARD, metavar="N", help="pictures of a shard (%(default)s)")
    add("--limit", type=count, metavar="N", help="only the first N pictures that are listed")
    add("--sample", type=share, default=1.0, metavar="P", help="only that share of them, 0 to 1, always the same ones")
    add("--again", type=kinds, metavar="TYPE,…", help="also pictures whose row says such an error: unreadable, …")
    add("--errors-to", type=Path, metavar="FILE", help="write the pictures that failed there, a line of JSON each")

    where = parser.add_argument_group("where it runs")
    add = where.add_argument
    add("--processes", type=count, metavar="N", help="processes here (one a core), or actors on Ray (one a CPU)")
    add("--ray", metavar="auto|local|HOST:PORT", help="on Ray: a cluster that runs, or one of this machine alone")
    return parser.parse_args(arguments)

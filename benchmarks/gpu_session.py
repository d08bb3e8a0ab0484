"""One session on a GPU: every figure of docs/tensorrt.md, step by step, whatever fails.

.venv/bin/python -m benchmarks.gpu_session --out FOLDER [--minutes 30] [--steps engines,served] [--weights MODEL=PATH]

Each step runs in a process of its own and is ended when its share of the minutes is over; what it measured until then
stays. FOLDER/rows.jsonl gets a line a figure as it is measured, FOLDER/STEP.log what was printed, FOLDER/rows.md the
rows of the documents' table. A second call with the same folder adds to it. Without a GPU the steps measure what they
can on the processor, marked so: for trying the script, not for the table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import gpu_steps

ROOT = Path(__file__).parents[1]
SHARES: Mapping[str, float] = {
    "tests": 4,
    "suppression": 1,
    "engines": 7,
    "parity": 5,
    "served": 4,
    "jpegs": 3,
    "memory": 2,
    "compiled": 4,
}
"""The steps in their order, what matters most first, and the minutes that each gets of thirty."""
HEAD = "| date | GPU | versions | what | pictures at once | figure |\n| --- | --- | --- | --- | --- | --- |\n"


@dataclass(frozen=True)
class Machine:
    """Where a figure was measured. gpu: its name, "none" without one; versions: of what it depends on."""

    date: str
    gpu: str
    versions: str

    @classmethod
    def here(cls) -> Machine:
        """This machine, today."""
        import torch

        versions = [f"torch {torch.__version__}", f"CUDA {torch.version.cuda}"]
        for package in ("tensorrt", "torch2trt", "torchvision", "onnxruntime"):
            try:
                versions.append(f"{package} {__import__(package).__version__}")
            except (ImportError, AttributeError, OSError):
                continue
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
        return cls(datetime.now(UTC).date().isoformat(), gpu, ", ".join(versions))


def run_step(name: str, out: Path, weights: Mapping[str, Path]) -> None:
    """One step in this process: its figures to rows.jsonl, each at once."""
    machine = asdict(Machine.here())
    with (out / "rows.jsonl").open("a") as rows:
        for figure in gpu_steps.STEPS[name](weights):
            rows.write(json.dumps({"step": name, **machine, **asdict(figure)}) + "\n")
            rows.flush()
            print(f"{figure.what} ({figure.batch}): {figure.value} {figure.unit}", flush=True)


def run_guarded(name: str, out: Path, seconds: float, weights: Sequence[str]) -> str:
    """One step in a process of its own, ended after so many seconds → what became of it."""
    command = [sys.executable, "-m", "benchmarks.gpu_session", "--out", str(out), "--only", name]
    command += [word for each in weights for word in ("--weights", each)]
    start = time.monotonic()
    with (out / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            code = process.wait(seconds)
            became = "done" if code == 0 else f"failed with status {code}, see {name}.log"
        except subprocess.TimeoutExpired:
            became = "ended: its time was over"
        finally:
            gpu_steps.end(process)
    return f"{became}, {time.monotonic() - start:.0f} s"


def markdown(rows: Sequence[Mapping[str, object]]) -> str:
    """The rows of the documents' table."""
    lines = [
        f"| {row['date']} | {row['gpu']} | {row['versions']} | {row['what']} | {row['batch'] or ''} "
        f"| {row['value']:g} {row['unit']} |\n"
        for row in rows
    ]
    return HEAD + "".join(lines)


def read(out: Path) -> list[dict[str, object]]:
    """All figures in the folder; a line that was cut short when its step ended is passed over."""
    rows = []
    path = out / "rows.jsonl"
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps → 0 where all of them came to their end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the figures")
    add("--minutes", type=float, default=30.0, help="for all steps together (%(default)s)")
    add("--steps", default=",".join(SHARES), help="which, in that order (%(default)s)")
    add(
        "--weights",
        action="append",
        default=[],
        metavar="MODEL=PATH",
        help="of models whose weights come in no package",
    )
    add("--only", choices=SHARES, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    out: Path = chosen.out.resolve()
    if chosen.only:
        pairs = (each.partition("=") for each in chosen.weights)
        run_step(chosen.only, out, {model: Path(path) for model, _, path in pairs})
        return 0
    steps = chosen.steps.split(",")
    if unknown := [step for step in steps if step not in SHARES]:
        parser.error(f"no steps {', '.join(unknown)}; there are {', '.join(SHARES)}")
    became = {}
    for step in steps:
        became[step] = run_guarded(step, out, SHARES[step] / sum(SHARES.values()) * chosen.minutes * 60, chosen.weights)
        (out / "rows.md").write_text(markdown(read(out)))
        print(f"{step}: {became[step]}", flush=True)
    print(f"{len(read(out))} figures in {out / 'rows.md'}")
    return 0 if all(each.startswith("done") for each in became.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

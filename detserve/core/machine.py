"""Machine: how many cores and GPUs a server has, found without a heavy import."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

WORKERS_A_GPU = 2
"""Processes share a GPU by turns, each with a CUDA context and an engine in its memory: two are enough for one to work
while the other reads pictures, and each has its share of the cores for that."""


def cores() -> int:
    """The cores that this process may use: its affinity, and a container's limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:  # a container's limit (docker run --cpus 2), which the affinity does not show
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        return max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no such file, or "max"
        return cores


@cache
def gpus() -> int:
    """The NVIDIA GPUs that workers are given. TorchServe counts them with nvidia-smi, and so does this."""
    program = shutil.which("nvidia-smi")
    if program is None or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return 0
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):  # a driver that does not answer
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())

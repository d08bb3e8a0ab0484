"""What repack.py writes for Triton and for LitServe, started as their README.md files say.

Each runs in an environment of its own beside the others of .venv, made by pip on first use from the requirements that
are in the export: neither is part of detserve's own environment, and Triton's wants an older numpy.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from benchmarks.processes import started
from detserve.errors import SetupError
from detserve.pack.exits import litserve, triton
from detserve.serve.launch import free_ports

ENVIRONMENTS = Path(sys.prefix)
READY_SECONDS = 300
PIP = ("-m", "pip", "--disable-pip-version-check", "install", "-q")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class NoPackages(SetupError):
    """The packages of a server are not to be had: no index answers, or they are for another kind of machine."""


def environment(name: str, bare: Sequence[str], whole: Sequence[str] = (), borrowing: bool = False) -> Path:
    """A virtual environment of that name with packages, arguments of pip; bare: those installed without dependencies.

    borrowing: what it lacks, PyTorch for instance, it finds in this one.

    It is made once for the same packages. Raises NoPackages where they are not to be had, and SetupError where they
    should be: a version that there is none of, for instance.
    """
    arguments = [Path(each).read_bytes() if Path(each).is_file() else each.encode() for each in (*bare, *whole)]
    digest = hashlib.sha256(bytes(1).join([sys.version.encode(), *arguments])).hexdigest()
    folder = ENVIRONMENTS / f"{name}-{digest[:8]}{'-borrowing' * borrowing}"
    with (ENVIRONMENTS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "made").is_file():
            return folder
        pip = [str(folder / "bin" / "python"), *PIP]
        commands = [[sys.executable, "-m", "venv", "--clear", str(folder)], [*pip, "--no-deps", *bare]]
        for command in [*commands, *([[*pip, *whole]] if whole else [])]:
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                to_be_had = platform.machine() == "x86_64" and index_answers(folder / "bin" / "python")
                raise (SetupError if to_be_had else NoPackages)(f"{name}: {' '.join(done.stderr.split())[-300:]}")
        if borrowing:
            (site_packages(folder) / "borrowed.pth").write_text(f"{site_packages(Path(sys.prefix))}\n")
        (folder / "made").touch()
    return folder


def index_answers(python: Path) -> bool:
    """Whether that Python's pip has an index of packages, in which there always is pip."""
    asked = [str(python), *PIP, "--retries", "1", "--dry-run", "--ignore-installed", "--no-deps", "pip"]
    return not subprocess.run(asked, capture_output=True, check=False).returncode


def site_packages(environment: Path) -> Path:
    """Where an environment of this Python has its packages."""
    return environment / "lib" / f"python{PYTHON}" / "site-packages"


@dataclass(frozen=True)
class Exit:
    """A server that is ready. url: where it listens; grpc: HOST:PORT, where it speaks that; log: what it prints."""

    url: str
    process: psutil.Process
    log: Path
    grpc: str = ""


@contextmanager
def triton_server(archive: Path, scratch: Path, *others: Path, borrowing: bool = False) -> Iterator[Exit]:
    """Triton with these archives. Raises NoPackages where it is not to be had, SetupError if it does not start."""
    repository = scratch / "triton"
    for each in (archive, *others):
        triton.lay_out(each, repository)
    with triton_on(repository, scratch, borrowing=borrowing) as server:
        yield server


@contextmanager
def triton_on(repository: Path, scratch: Path, python: Path | None = None, borrowing: bool = False) -> Iterator[Exit]:
    """Triton on a repository that is there. python: another environment of its models; borrowing: see `environment`."""
    wanted = sorted(repository.glob("*/requirements.txt"))[:1]
    packages = [triton.SERVER, *(word for path in wanted for word in ("-r", str(path)))]
    home = environment("triton", packages, borrowing=borrowing)
    at = site_packages(home) / "pytriton" / "tritonserver"
    stub = at / "backends" / "python" / "triton_python_backend_stub"
    if not stub.exists():
        stub.symlink_to(f"../../python_backend_stubs/{PYTHON}/{stub.name}")
    ports = free_ports()
    http, grpc, metrics = (ports[name] for name in ("port", "grpc_port", "metrics_port"))
    command = [str(at / "bin" / "tritonserver"), "--model-repository", str(repository)]
    command += ["--backend-directory", str(at / "backends"), "--http-header-forward-pattern", "(?i)x-.*"]
    command += ["--http-address", "127.0.0.1", "--http-port", str(http), "--metrics-port", str(metrics)]
    command += ["--grpc-address", "127.0.0.1", "--grpc-port", str(grpc)]
    path = {"PATH": f"{(python or home) / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    log = scratch / "triton.log"
    with started(command, log, scratch, {**os.environ, **path}) as process:
        _await(f"http://127.0.0.1:{http}/v2/health/ready", process, log)
        yield Exit(f"http://127.0.0.1:{http}", process, log, f"127.0.0.1:{grpc}")


@contextmanager
def litserve_server(archive: Path, scratch: Path, borrowing: bool = False) -> Iterator[Exit]:
    """LitServe with that archive. Raises NoPackages where it is not to be had, SetupError if it does not start."""
    folder = scratch / "litserve"
    litserve.lay_out(archive, folder)
    bare, whole = (["-r", str(folder / name)] for name in ("requirements.txt", "requirements-server.txt"))
    home = environment("litserve", bare, whole, borrowing)
    port, log = free_ports()["port"], scratch / "litserve.log"
    command = [str(home / "bin" / "python"), "server.py", "--port", str(port)]
    with started(command, log, folder, os.environ) as process:
        _await(f"http://127.0.0.1:{port}/health", process, log)
        yield Exit(f"http://127.0.0.1:{port}", process, log)


def _await(url: str, process: psutil.Process, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with suppress(requests.ConnectionError):
            if requests.get(url, timeout=10).ok:
                return
        if process.status() == psutil.STATUS_ZOMBIE or time.monotonic() > deadline:
            raise SetupError(f"it did not start: {' '.join(log.read_text('utf-8', 'replace').split())[-500:]}")
        time.sleep(0.2)

"""The contestants of compare.py: the pipeline in process, detserve's server, a plain handler on a stock TorchServe."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import plain_archives
from detserve.bench.engine import packed
from detserve.bench.runner import Runner
from detserve.bench.target import HttpTarget
from detserve.errors import ServerFailed, SetupError
from detserve.serve.config import Settings
from detserve.serve.java import find_java
from detserve.serve.launch import free_ports, launch
from detserve.serve.management import Management
from detserve.serve.model_config import Registration

ROOT = Path(__file__).parents[1]
READY_SECONDS = 120
WORKER = "model_service_worker.py"


@dataclass(frozen=True)
class Contestant:
    """One way of serving. runner: what loads it; server: the first process of its server, None where there is none."""

    title: str
    runner: Runner
    server: psutil.Process | None = None

    @property
    def processes(self) -> list[psutil.Process]:
        """All processes that do its work, those of the load generator left out."""
        if self.server is None:
            return [psutil.Process(pid) for pid in self.runner.pids]
        return _tree(self.server)

    def cpu(self) -> float:
        """Processor seconds of its work since its start."""
        total = 0.0
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                # A stock TorchServe starts a process each minute: the ended ones count with their parent.
                total += sum(process.cpu_times()[:4])
        return total

    def worker_memory(self) -> float:
        """Mean resident megabytes of the processes that hold an engine."""
        workers = [p for p in self.processes if self.server is None or any(WORKER in word for word in p.cmdline())]
        return sum(worker.memory_info().rss for worker in workers) / len(workers) / 1e6

    def hold(self) -> None:
        """Stop its processes where they stand: another one is measured."""
        if self.server:
            for process in _tree(self.server):
                with suppress(psutil.NoSuchProcess):
                    process.suspend()

    def let_go(self) -> None:
        """Let them run on."""
        if self.server:
            _resume(self.server)


@contextmanager
def contestants(archive: Path, pictures: Sequence[bytes], scratch: Path) -> Iterator[list[Contestant]]:
    """All, ready: (a) the limit, (b) detserve, (c) the plain handler where there is one for what the archive does."""
    with ExitStack() as stack:
        limit = stack.enter_context(packed(archive))
        found = [Contestant("a  limit", stack.enter_context(Runner(limit, pictures, Registration().worker_count)))]
        servers = {"b  detserve": detserve(archive, scratch)}
        if pack := plain_archives.PACK.get(limit.recipe.detect.spec().task if not limit.recipe.read else "ocr"):
            servers["c  plain"] = plain(scratch, pack)
        for title, server in servers.items():
            url, process = stack.enter_context(server)
            found.append(Contestant(title, stack.enter_context(Runner(HttpTarget(url), pictures, 1)), process))
        for contestant in found:
            if not (answer := contestant.runner.probe()).ok:
                raise SetupError(f"{contestant.title} answers {answer.status}: {answer.body[:300]!r}")
            contestant.hold()
        yield found


@contextmanager
def detserve(
    archive: Path, scratch: Path, options: Sequence[str] = ("--workers", "0")
) -> Iterator[tuple[str, psutil.Process]]:
    """The server of `make serve` with these options; a worker for each core unless they say otherwise."""
    settings = Settings(model_store=archive.parent, run_dir=scratch / "run", **free_ports())
    with launch(settings, archive.stem, *options) as server:
        process = psutil.Process(server.process.pid)
        try:
            yield f"{server.url}/predictions/{archive.stem}", process
        finally:
            _resume(process)


@contextmanager
def plain(scratch: Path, pack: Callable[[Path], None]) -> Iterator[tuple[str, psutil.Process]]:
    """`torchserve --start` with a plain handler; nothing is set but ports, tokens and the management API."""
    ports = free_ports()
    folder = scratch / "plain"
    (folder / "store").mkdir(parents=True)
    pack(folder / "store" / "plain.mar")
    addresses = {"inference": ports["port"], "management": ports["management_port"], "metrics": ports["metrics_port"]}
    lines = [f"{name}_address=http://127.0.0.1:{port}" for name, port in addresses.items()]
    lines += [f"grpc_inference_port={ports['grpc_port']}", f"grpc_management_port={ports['grpc_management_port']}"]
    (folder / "config.properties").write_text("\n".join(lines) + "\n")
    command = [str(Path(sys.executable).with_name("torchserve")), "--start", "--foreground"]
    command += ["--ts-config", "config.properties", "--model-store", "store", "--models", "plain=plain.mar"]
    command += ["--disable-token-auth", "--enable-model-api"]
    # TEMP: the pid file of another TorchServe lies in the usual folder, and would keep this one from starting.
    here = {"TMPDIR": str(folder), "TEMP": str(folder), "JAVA_HOME": str(find_java().parents[1])}
    with _started(command, folder / "console.log", folder, os.environ | here) as process:
        _await_ready(process, f"http://127.0.0.1:{ports['management_port']}", "plain", folder)
        yield f"http://127.0.0.1:{ports['port']}/predictions/plain", process


@contextmanager
def _started(command: list[str], log: Path, folder: Path, environment: dict[str, str]) -> Iterator[psutil.Process]:
    """A server and all that it starts, ended with the block."""
    with log.open("w") as output:
        process = psutil.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output, process_group=0)
    try:
        yield process
    finally:
        _resume(process)
        left = _tree(process)
        process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(left, 30)
        for straggler in alive:
            straggler.kill()
        psutil.wait_procs(alive, 10)


def _await_ready(process: psutil.Process, management: str, model: str, folder: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            Management(management, folder).wait_ready(model)
            return
        except ServerFailed as error:
            if process.status() == psutil.STATUS_ZOMBIE or time.monotonic() > deadline:
                raise SetupError(f"{model} did not start: {error}") from error
        time.sleep(0.5)


def _tree(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def _resume(process: psutil.Process) -> None:
    for each in _tree(process):
        with suppress(psutil.NoSuchProcess):
            each.resume()

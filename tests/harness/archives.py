"""Archives for the tests: tiny ones without detserve inside, and real ones that are packed once."""

from __future__ import annotations

import fcntl
import json
import shutil
import zipfile
from pathlib import Path

from detserve.pack.packer import ModelChoice, PackRequest, pack

HANDLERS = {
    "echo": """
class Handler:
    def initialize(self, context):
        pass
    def handle(self, rows, context):
        return [bytes(row.get("data") or row.get("body")) for row in rows]
""",
    "slow": """
import time
class Handler:
    def initialize(self, context):
        pass
    def handle(self, rows, context):
        time.sleep(1.5)
        return [bytes(row.get("data") or row.get("body")) for row in rows]
""",
    "hung": """
import time
class Handler:
    def initialize(self, context):
        pass
    def handle(self, rows, context):
        time.sleep(600)
""",
    "lacking": """
import no_such_package
class Handler:
    def initialize(self, context):
        pass
    def handle(self, rows, context):
        return rows
""",
    "late": """
class Handler:
    def initialize(self, context):
        import no_such_package
    def handle(self, rows, context):
        return rows
""",
    "raising": """
class Handler:
    def initialize(self, context):
        try:
            {}["engine"]
        except KeyError as error:
            raise RuntimeError("the engine is for another GPU") from error
    def handle(self, rows, context):
        return rows
""",
    "killed": """
import os, sys
class Handler:
    def initialize(self, context):
        print("CUDA driver is too old", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 9)
    def handle(self, rows, context):
        return rows
""",
}


def write_archive(store: Path, name: str, handler: str = "") -> None:
    """handler: its source; else that of HANDLERS by the archive's name."""
    model = {"modelName": name, "handler": "tiny_handler.py", "modelVersion": "1.0"}
    manifest = {"createdOn": "today", "runtime": "python", "archiverVersion": "0.12.0", "model": model}
    store.mkdir(exist_ok=True)
    with zipfile.ZipFile(store / f"{name}.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("tiny_handler.py", handler or HANDLERS[name])


_LINES = ModelChoice(model="ppocrv6-small-det")
MODELS = {
    "fd1": {"detect": ModelChoice(model="centerface")},
    "fd640": {"detect": ModelChoice(model="centerface", settings={"size": (640, 640)})},
    "td1": {"detect": _LINES},
    "ocr1": {"detect": _LINES, "read": ModelChoice(model="ppocrv6-small-rec")},
}
"""fd1, td1 and ocr1 as `make serve` packs them, and fd640, faces at 640 pixels."""


class Shelf:
    """Packed archives of MODELS in a folder that all processes of a run share, each packed when it is first asked for.

    A test may read what lies there; what a server writes beside its archives goes into a store of its own.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder

    def get(self, name: str) -> Path:
        """The archive of that name, its sum beside it."""
        archive = self.folder / name / f"{name}.mar"
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return archive if archive.is_file() else pack(PackRequest(name=name, out=archive.parent, **MODELS[name]))

    def store(self, folder: Path, *names: str) -> Path:
        """That folder with copies of these archives."""
        for name in names:
            shutil.copytree(self.get(name).parent, folder, dirs_exist_ok=True)
        return folder

"""The versions of a served model: `detserve versions fd1 [--default 2.0] [--retire 1.0]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from detserve.errors import SetupError
from detserve.places import RUN_DIR
from detserve.serve.config import LOOPBACK
from detserve.serve.management import Management


def main(arguments: Sequence[str] | None = None, prog: str = "versions") -> int:
    """Change what is asked for, then list the versions → exit status."""
    options = _parse(arguments, prog)
    management = Management(options.management, options.run_dir)
    try:
        if options.default:
            management.wait_ready(options.name, options.default)
            management.set_default(options.name, options.default)
        if options.retire:
            management.retire(options.name, options.retire)
        for place, version in enumerate(management.versions(options.name)):
            ready = sum(worker["status"] == "READY" for worker in version["workers"])
            waiting = version["jobQueueStatus"]["pendingRequests"]
            default = "" if place else ", answers requests that name no version"
            name = f"{options.name}/{version['modelVersion']}"
            print(f"{name}: {ready} of {version['minWorkers']} workers ready, {waiting} requests wait{default}")
    except SetupError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description="List the versions of a served model, or change them.")
    add = parser.add_argument
    add("name", help="of the model")
    add(
        "--default",
        metavar="VERSION",
        help="let it answer the requests that name no version, once its workers are ready",
    )
    add("--retire", metavar="VERSION", help="remove it, once it has answered all that it was given")
    add("--management", default=f"http://{LOOPBACK}:8081", metavar="URL", help="of the server (%(default)s)")
    add("--run-dir", type=Path, default=RUN_DIR, help="of the server, for its keys (run)")
    return parser.parse_args(arguments)

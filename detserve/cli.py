"""The command `detserve`: one name for what serve.py, repack.py, client.py, qpstest.py and bulk.py do in a checkout.

A command's packages are imported when it runs: each extra has those of one, and this module needs none.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from detserve import __version__
from detserve.places import installing


class Command(NamedTuple):
    """A subcommand.

    run: "module:function" that takes the arguments and the name to show; extra: what brings its packages, empty for
    those that come with detserve itself; does: what it does.
    """

    run: str
    extra: str
    does: str


COMMANDS = {
    "serve": Command("detserve.serve.command:main", "serve", "serve the archives of the model store with TorchServe"),
    "pack": Command("detserve.pack.command:main", "pack", "build an engine for a model and pack it into an archive"),
    "models": Command(
        "detserve.pack.inspection:models_main", "", "list the models, their weights, licences and accuracy"
    ),
    "show": Command("detserve.pack.inspection:show_main", "", "show what an archive holds"),
    "verify": Command(
        "detserve.pack.inspection:verify_main", "", "check an archive: its sum, every file in it, and no other"
    ),
    "versions": Command("detserve.serve.versions:main", "serve", "list the versions of a served model, or change them"),
    "detect": Command(
        "detserve.client.command:main", "client", "send pictures to a server, and print, write or draw the answers"
    ),
    "bulk": Command("detserve.bulk.command:main", "bulk", "run an archive over very many pictures, into Parquet"),
    "demo": Command("detserve.demo.command:main", "demo", "serve a page to try the models in a browser"),
    "bench": Command("detserve.bench.command:main", "bench", "load test of a server, or of an archive in process"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line → exit status. `detserve COMMAND --help` tells of one command."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {command.does}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="detserve",
        usage="detserve [-h] [--version] COMMAND ...",
        description=f"commands:\n{listed}\n\n`detserve COMMAND --help` tells of one of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"detserve {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS).required = False
    given = parser.parse_args(arguments)
    name, command = f"detserve {given.command}", COMMANDS[given.command]
    module, _, function = command.run.partition(":")
    sys.path.append(str(Path.cwd()))  # where `--model my_module:Spec` lies; a script looks beside itself
    try:
        run = getattr(importlib.import_module(module), function)
    except ImportError as error:
        if not command.extra or (error.name or "detserve").partition(".")[0] == "detserve":
            raise  # nothing that an extra brings
        print(f"{name}: the package {error.name!r} is missing: {installing(command.extra)}", file=sys.stderr)
        return 1
    status: int = run(given.arguments, prog=name)
    return status

"""The command `detserve`: one name for what serve.py, repack.py, client.py and qpstest.py do in a checkout."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Command(NamedTuple):
    """A subcommand: the module whose `main` runs it, the arguments that go before the user's, and what it does."""

    module: str
    arguments: tuple[str, ...]
    does: str


COMMANDS = {
    "serve": Command("detserve.serve.command", (), "serve the archives of the model store with TorchServe"),
    "pack": Command("detserve.pack.command", (), "build an engine for a model and pack it into an archive"),
    "models": Command("detserve.pack.command", ("--list",), "list the models, their weights, licences and accuracy"),
    "show": Command("detserve.pack.command", ("--show",), "show what an archive holds"),
    "verify": Command(
        "detserve.pack.command", ("--verify",), "check an archive: its sum, every file in it, and no other"
    ),
    "versions": Command("detserve.serve.versions", (), "list the versions of a served model, or change them"),
    "detect": Command("detserve.client.command", (), "send pictures to a server, and print, write or draw the answers"),
    "bench": Command("detserve.bench.command", (), "load test of a server, or of an archive in process"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line → exit status. `detserve COMMAND --help` tells of one command."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {command.does}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="detserve",
        description=f"commands:\n{listed}\n\n`detserve COMMAND --help` tells of one of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...")
    given = parser.parse_args(arguments)
    command = COMMANDS[given.command]
    try:
        module = importlib.import_module(command.module)
    except ImportError as error:
        extra = command.module.split(".")[1]
        print(f"detserve: the package {error.name!r} is missing: pip install 'detserve[{extra}]'", file=sys.stderr)
        return 1
    status: int = module.main([*command.arguments, *given.arguments], prog=f"detserve {given.command}")
    return status

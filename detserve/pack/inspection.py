"""Inspection: which models there are, and what an archive holds: `detserve models`, `show` and `verify`.

It needs NumPy and PyYAML, and no runtime of an engine.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from detserve import models
from detserve.errors import SetupError


def show_models() -> None:
    """Print every model with the origin, licence and sum of its weights and its published accuracy."""
    for name, spec in models.catalogue().items():
        weights = spec.weights
        print(f"{name}\n    task      {spec.task}\n    weights   {weights.origin}\n    licence   {weights.licence}")
        print(f"    sha256    {weights.sha256 or 'of your own file'}\n    accuracy  {weights.accuracy}")


def show_archive(path: Path) -> None:
    """Print what an archive holds: its recipe and its files."""
    from detserve.archives import archive

    found = archive.read(path)
    print(f"{found.name}/{found.version}  handler {found.handler}")
    print(found.recipe.to_yaml().decode().rstrip())
    for name, length in found.files.items():
        if not name.startswith("detserve/"):
            print(f"{length:>12,}  {name}")


def verify_archive(path: Path, sha256: str | None) -> None:
    """Print the sum of an archive that is whole and as it was packed, and what the sum was compared with."""
    from detserve.archives.checksums import sum_beside
    from detserve.archives.verify import verify

    beside = sum_beside(path)
    found = verify(path, sha256)
    compared = [*(["--sha256"] if sha256 else []), *([beside.name] if beside.is_file() else [])]
    print(f"{found}  {path}\nas packed; the sum agrees with {' and '.join(compared) or 'nothing: none was given'}")


def models_main(arguments: Sequence[str] | None = None, prog: str = "detserve models") -> int:
    """Run `detserve models` → exit status."""
    about = "List the models that can be packed: what each is for, its weights, their licence, its published accuracy."
    argparse.ArgumentParser(prog=prog, description=about).parse_args(arguments)
    return _status(prog, show_models)


def show_main(arguments: Sequence[str] | None = None, prog: str = "detserve show") -> int:
    """Run `detserve show` → exit status."""
    parser = argparse.ArgumentParser(prog=prog, description="Show what an archive holds: its recipe and its files.")
    parser.add_argument("archive", type=Path, metavar="FILE.mar")
    options = parser.parse_args(arguments)
    return _status(prog, lambda: show_archive(options.archive))


def verify_main(arguments: Sequence[str] | None = None, prog: str = "detserve verify") -> int:
    """Run `detserve verify` → exit status."""
    about = "Check an archive: its sum, every file in it, and no other."
    parser = argparse.ArgumentParser(prog=prog, description=about)
    parser.add_argument("archive", type=Path, metavar="FILE.mar")
    parser.add_argument("--sha256", metavar="SUM", help="that it must have, beside the one in FILE.mar.sha256")
    options = parser.parse_args(arguments)
    return _status(prog, lambda: verify_archive(options.archive, options.sha256))


def _status(prog: str, run: Callable[[], None]) -> int:
    try:
        run()
        sys.stdout.flush()
    except SetupError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `detserve models | head`: nobody reads on, and the last flush shall not complain of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0

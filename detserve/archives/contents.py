"""Contents: the files of detserve that go into every archive, and those that decide what it becomes. The only lists.

Packing writes the first. When a file of either changes, the Makefile packs anew, and docker/engines.py builds new
engines. A worker has no code for packing, clients, load tests or serving. Run as a script, this module prints the paths
of both; it needs nothing but Python, and no other module of detserve.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
ROOMS = ("core", "pictures", "text", "models", "engines", "archives", "worker")
MODULES = ("__init__.py", "errors.py", "options.py", "spec.py", "detections.py")
DECIDE = ("pack/*.py", "places.py", "serve/__init__.py", "serve/defaults.py", "serve/model_config.py")
"""What makes an archive and stays outside of it."""

HANDLER = "picture_handler.py"
"""What TorchServe finds in an archive as its handler."""
STARTUP = "sitecustomize.py"
"""What a worker's Python runs first. In a checkout the folder of both lies beside the package, else inside."""


def files() -> dict[str, Path]:
    """Name in the archive → file: "detserve/core/letterbox.py" and so on, in the order of their names."""
    modules = [PACKAGE / name for name in MODULES]
    modules += [path for room in ROOMS for path in (PACKAGE / room).rglob("*.py")]
    handlers = next(folder for top in (PACKAGE.parent, PACKAGE) if (folder := top / "handlers").is_dir())
    outside = {name: handlers / name for name in (HANDLER, STARTUP)}
    return {path.relative_to(PACKAGE.parent).as_posix(): path for path in sorted(modules)} | outside


def deciding() -> dict[str, Path]:
    """The same of the files that make an archive and are not in it."""
    paths = (path for pattern in DECIDE for path in sorted(PACKAGE.glob(pattern)))
    return {path.relative_to(PACKAGE.parent).as_posix(): path for path in paths}


if __name__ == "__main__":
    print("\n".join(map(str, (files() | deciding()).values())))

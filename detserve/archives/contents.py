"""Contents: the files of detserve that go into every archive. This is the only list of them.

Packing writes these files, the Makefile packs anew when one of them changes, and docker/engines.py builds new engines
then. A worker has no code for packing, clients, load tests or serving. Run as a script, this module prints their paths;
it needs nothing but Python, and no other module of detserve.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
ROOMS = ("core", "pictures", "text", "models", "engines", "archives", "worker")
MODULES = ("__init__.py", "errors.py", "options.py", "spec.py", "detections.py")


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


if __name__ == "__main__":
    print("\n".join(map(str, files().values())))

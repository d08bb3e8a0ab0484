"""Places: where detserve finds its configuration, and where it puts archives, logs and results.

In a checkout all of them lie beside the package. Where detserve is installed, the first lies inside the package, and
the others in the folder that the command was started in. What a message tells the user to type differs likewise.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent
_CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "config" / "config.properties").is_file() else None

CONFIG_DIR = (_CHECKOUT or PACKAGE) / "config"
"""TorchServe's settings, logging and metrics, and a YAML for each served model."""
HOME = _CHECKOUT or Path.cwd()
MODEL_STORE = HOME / "model_store"
"""The archives."""
RUN_DIR = HOME / "run"
"""Logs, keys, the effective configuration and whatever else a server writes."""
RESULTS = HOME / "result"
"""Drawn pictures."""

_TYPED = {"serve": "make serve", "pack": "python repack.py", "versions": "python -m detserve versions"}


def typed(command: str) -> str:
    """What the user types for `detserve COMMAND`: in a checkout what the README starts with."""
    return _TYPED[command] if _CHECKOUT else f"detserve {command}"


def packing(name: str) -> str:
    """How the user gets the archive of that name."""
    command = f"{typed('pack')} {name}"
    if _CHECKOUT and not (_CHECKOUT / "Makefile").is_file():  # a container
        return "an archive that was packed outside can be mounted there, see docs/docker.md"
    return f"make model_store/{name}.mar, or {command}" if _CHECKOUT else command


def installing(extra: str) -> str:
    """What brings the packages of an extra, which in a checkout are those of requirements/EXTRA.txt."""
    return f"pip install -r requirements/{extra}.txt" if _CHECKOUT else f"pip install 'detserve[{extra}]'"

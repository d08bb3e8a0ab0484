"""Places: where detserve finds its configuration and handler, and where it puts archives, logs and results.

In a checkout all of them lie beside the package. Where detserve is installed, the first two lie inside the package, and
the others in the folder that the command was started in.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent
_CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "config" / "config.properties").is_file() else None

CONFIG_DIR = (_CHECKOUT or PACKAGE) / "config"
"""TorchServe's settings, logging and metrics, and a YAML for each served model."""
HANDLER = (_CHECKOUT or PACKAGE) / "handlers" / "picture_handler.py"
"""What TorchServe finds in an archive as its handler."""

HOME = _CHECKOUT or Path.cwd()
MODEL_STORE = HOME / "model_store"
"""The archives."""
RUN_DIR = HOME / "run"
"""Logs, keys, the effective configuration and whatever else a server writes."""
RESULTS = HOME / "result"
"""Drawn pictures."""

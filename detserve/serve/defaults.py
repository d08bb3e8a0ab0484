"""Defaults: how a model is registered where neither its YAML nor the command line says so, by its engine."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from detserve.core.machine import WORKERS_A_GPU, gpus
from detserve.serve.model_config import Registration

ON_GPU = frozenset({"tensorrt", "torchscript", "eager"})
"""The backends whose engines run on the GPU that a worker is given."""
GPU_BATCH, GPU_DELAY = 16, 2
"""Large batches are what a GPU is fast at, and they want 2 ms to come together."""


def registration(archive: Path) -> Registration:
    """How the model in that archive is registered on this machine unless someone says otherwise."""
    if gpus() and _backend(archive) in ON_GPU:
        return Registration(workers=WORKERS_A_GPU * gpus(), batch_size=GPU_BATCH, max_batch_delay=GPU_DELAY)
    return Registration()


def _backend(archive: Path) -> str | None:
    """The backend of its detector; None for an archive that is not detserve's. Nothing heavy is imported for it."""
    import yaml

    try:
        with zipfile.ZipFile(archive) as mar:
            model = json.loads(mar.read("MAR-INF/MANIFEST.json"))["model"]
            recipe: Any = yaml.safe_load(mar.read(model["configFile"]))
        backend: str = recipe["detserve"]["detect"]["backend"]
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError, yaml.YAMLError):
        return None
    return backend

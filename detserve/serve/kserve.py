"""KServe: archives laid out as its runtime for TorchServe reads them, config/config.properties beside model-store/."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from detserve.archives import archive
from detserve.errors import BadArchive
from detserve.places import CONFIG_DIR, typed
from detserve.serve.config import model_state, template
from detserve.serve.model_config import ModelConfig

MOUNT = "/mnt/models"
"""Where KServe puts what it has downloaded."""
# Where KServe's wrapper, which itself takes port 8080, looks for TorchServe in the same pod. A runtime without the
# wrapper sets other addresses by environment variables, which `enable_envvars_config` permits.
_ADDRESS = "http://127.0.0.1:8085"


def lay_out(store: Path, names: Sequence[str], folder: Path, config_dir: Path = CONFIG_DIR) -> list[str]:
    """Copy archives of a store, all if none is named, and write their configuration → the names of the models.

    Workers and batches are as config_dir/NAME.yaml says. Raises BadArchive for an archive that is missing or not
    detserve's, BadSpec for a faulty configuration; then nothing was written.
    """
    chosen = list(names) or sorted(path.stem for path in store.glob("*.mar"))
    if not chosen:
        raise BadArchive(f"no archive in {store}: {typed('pack')} fd1 makes {store / 'fd1.mar'}")
    common = template(config_dir)
    models = {}
    for name in chosen:
        serving = ModelConfig.load(config_dir, name).serve
        # One worker where the configuration says one a core: a cluster adds pods.
        state = model_state(name, serving, serving.workers or 1, common)
        models[name] = {archive.read(store / f"{name}.mar").version: state}
    snapshot = {"name": "startup.cfg", "modelCount": len(models), "models": models}
    properties = common | {
        "inference_address": _ADDRESS,
        "management_address": _ADDRESS,
        "metrics_address": "http://127.0.0.1:8082",
        "enable_envvars_config": "true",
        # What is served is what lies here; who may ask is decided in front of the pod.
        "enable_model_api": "false",
        "disable_token_authorization": "true",
        "model_store": f"{MOUNT}/model-store",
        "model_snapshot": json.dumps(snapshot, separators=(",", ":")),
    }
    for part in ("config", "model-store"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name in chosen:
        shutil.copyfile(store / f"{name}.mar", folder / "model-store" / f"{name}.mar")
    lines = (f"{key}={value}\n" for key, value in sorted(properties.items()))
    (folder / "config" / "config.properties").write_text("".join(lines), "ascii")
    return chosen

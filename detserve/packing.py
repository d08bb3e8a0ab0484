"""Packing: from a model and its weights to an archive that TorchServe serves."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from detserve import archive, backends, models, parity
from detserve.backends.base import Device, EnginePlan
from detserve.errors import BackendMissing, BadSpec
from detserve.recipe import ENGINE_FOLDER, Recipe
from detserve.spec import ModelSpec
from detserve.weights import locate, sha256_of

ROOT = Path(__file__).parent.parent
GATE_PICTURE = "package:skimage/data/astronaut.png"
"""The real picture of the parity gate: one face, from the package scikit-image."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to pack. settings: changes of the model's spec; weights: path or URL, else the model's own;
    precision: else the backend's default."""

    name: str
    model: str
    out: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    sha256: str | None = None
    backend: str = "auto"
    precision: str | None = None
    max_batch: int = 8
    version: str = "1.0"


def pack(order: Order) -> Path:
    """Build the engine, check it against the network, write NAME.mar → its path.

    Raises SetupError of some kind when anything does not hold; then nothing was written.
    """
    import torch

    spec = models.find(order.model).override(**order.settings)
    adapter = backends.find(order.backend)
    plan = EnginePlan(precision=order.precision or adapter.precisions[0], max_batch=order.max_batch)
    if plan.precision not in adapter.precisions:
        choice = ", ".join(adapter.precisions)
        raise BackendMissing(f"backend {adapter.name} has no precision {plan.precision!r}; it has {choice}")
    weights = _weights(spec, order)
    with _step(f"loading {weights.name} into {spec.name}"):
        source = spec.source(weights)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with _step(f"building the engine: {adapter.name}, precision {plan.precision}"):
            adapter.build(source, plan, folder)
        with _step("checking it against the network"):
            device = Device(threads=torch.get_num_threads(), gpu=0 if torch.cuda.is_available() else None)
            engine = adapter(folder, spec, plan, device)
            figures = parity.measure(source, engine, locate(GATE_PICTURE).read_bytes(), plan.max_batch)
        print(f"  {figures}", file=sys.stderr)
        figures.check(parity.EXACT if plan.precision == "fp32" else parity.REDUCED)
        recipe = Recipe(
            model=order.model,
            settings=spec.settings(),
            backend=adapter.name,
            plan=plan,
            weights_sha256=sha256_of(weights),
            parity=figures.to_dict(),
        )
        handler = f"{spec.task}.py"
        files = {handler: ROOT / "handlers" / handler, **_tree(ROOT / "detserve"), **_own_module(order.model)}
        files |= {f"{ENGINE_FOLDER}/{path.name}": path for path in folder.iterdir()}
        path = order.out / f"{order.name}.mar"
        archive.write(path, order.name, order.version, handler, recipe, files)
    return path


def _weights(spec: ModelSpec, order: Order) -> Path:
    if order.weights:
        return locate(order.weights, order.sha256)
    if not spec.weights.origin.startswith("package:"):
        raise BadSpec(f"{spec.name} needs --weights PATH|URL: {spec.weights.origin}")
    return locate(spec.weights.origin, order.sha256 or spec.weights.sha256)


def _tree(package: Path) -> dict[str, Path]:
    """The modules of a package: name in the archive → file."""
    return {path.relative_to(package.parent).as_posix(): path for path in package.rglob("*.py")}


def _own_module(model: str) -> dict[str, Path]:
    """The user's package, or lone module, that holds a model given as "package.module:NAME"."""
    top = model.partition(":")[0].partition(".")[0]
    if ":" not in model or top == "detserve":
        return {}
    found = find_spec(top)
    if found is None or found.origin is None:
        raise BadSpec(f"no files of {top!r} to pack; it needs an __init__.py")
    origin = Path(found.origin)
    return _tree(origin.parent) if found.submodule_search_locations else {origin.name: origin}


@contextmanager
def _step(what: str) -> Iterator[None]:
    """Say what goes on, and how long it took."""
    print(f"{what} ...", end=" ", flush=True, file=sys.stderr)
    start = time.perf_counter()
    try:
        yield
    except BaseException:
        print("failed", file=sys.stderr)
        raise
    print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr)

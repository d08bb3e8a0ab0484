"""The models that detserve knows: one folder for each family, with a tuple SPECS. A new family is a new folder here."""

from __future__ import annotations

import importlib
import pkgutil

from detserve.errors import BadSpec
from detserve.models.spec import ModelSpec, import_spec


def catalogue() -> dict[str, ModelSpec]:
    """All models of this package by name."""
    families = [info.name for info in pkgutil.iter_modules(__path__) if info.ispkg]
    modules = [importlib.import_module(f"{__name__}.{family}") for family in families]
    return {spec.name: spec for module in modules for spec in module.SPECS}


def find(model: str) -> ModelSpec:
    """The model of that name, or your own at "package.module:NAME". Raises BadSpec when there is none, naming all."""
    if ":" in model:
        return import_spec(model)
    known = catalogue()
    if model not in known:
        raise BadSpec(f"no model {model!r}; there are {', '.join(known)}, or your own as package.module:NAME")
    return known[model]

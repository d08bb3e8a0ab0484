"""Recipe: the YAML of an archive. It says which models run on which engines, and how those were checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from detserve import __version__, models
from detserve.engines.base import EnginePlan
from detserve.errors import BadArchive
from detserve.models.spec import ModelSpec
from detserve.pictures.header import MAX_PIXELS

KEY = "detserve"
"""The top-level key of the YAML. TorchServe passes keys that it does not know on to the handler."""
PACK_IT = "repack.py (detserve pack)"
"""What makes archives: the script of a checkout, and the command where detserve is installed."""
ENGINE_FOLDER = "engine"
"""The folder of the engines in an archive. Each model has a folder in it, `detect` or `read`."""


@dataclass(frozen=True, kw_only=True)
class PackedModel:
    """One model on one engine.

    model: a name of detserve's or "package.module:NAME"; settings: the fields of its spec; backend and plan: what the
    engine was built with; weights_sha256: of the files that it was built from, apart by spaces; parity: the figures of
    the gate.
    """

    model: str
    settings: Mapping[str, Any]
    backend: str
    plan: EnginePlan
    weights_sha256: str
    parity: Mapping[str, Any]

    def spec(self) -> ModelSpec:
        """The model's spec with these settings. Raises BadSpec when there is no such model or they do not fit it."""
        return models.find(self.model).override(**self.settings)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a worker needs to load an archive, and what `repack.py --show` tells of it.

    detect: the model that finds; read: the one that reads what was found, in an archive for OCR; options: defaults of
    those request options that have no place in a model's spec; max_pixels: larger pictures are refused;
    reduced_decode: whether a JPEG much larger than the input is decoded at a fraction of its size; detserve: the
    version that packed it.
    """

    detect: PackedModel
    read: PackedModel | None = None
    options: Mapping[str, str]
    max_pixels: int = MAX_PIXELS
    reduced_decode: bool = True
    detserve: str = __version__

    def to_yaml(self) -> bytes:
        """The YAML file of the archive."""
        import yaml

        return yaml.safe_dump({KEY: asdict(self)}, sort_keys=False, allow_unicode=True, width=120).encode()

    @classmethod
    def of_archive(cls, document: Mapping[str, Any] | None) -> Self:
        """The recipe in the parsed YAML of an archive. Raises BadArchive when it is not detserve's."""
        entry = (document or {}).get(KEY)
        if not isinstance(entry, Mapping):
            raise BadArchive(f"the archive's YAML has no section {KEY!r}; pack it with {PACK_IT}")
        unknown = set(entry) - {f.name for f in fields(cls)}
        if unknown:
            made_by = entry.get(KEY, "another version")
            raise BadArchive(
                f"the archive was packed by detserve {made_by} ({', '.join(sorted(unknown))}); pack it anew"
            )
        try:
            read = entry.get("read")
            return cls(**{**entry, "detect": _packed_model(entry["detect"]), "read": read and _packed_model(read)})
        except (KeyError, TypeError) as error:
            raise BadArchive(f"the archive's YAML is not whole ({error}); pack it anew with {PACK_IT}") from error


def _packed_model(entry: Mapping[str, Any]) -> PackedModel:
    return PackedModel(**{**entry, "plan": EnginePlan(**entry["plan"])})

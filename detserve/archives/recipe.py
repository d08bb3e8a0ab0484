"""Recipe: the YAML of an archive. It says which models run on which engines, and how those were checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from detserve import __version__, engines, models
from detserve.engines.base import Engine, Device, EnginePlan
from detserve.errors import BadArchive
from detserve.models.spec import ModelSpec

if TYPE_CHECKING:
    from detserve.worker.pipeline import Pipeline

KEY = "detserve"
"""The top-level key of the YAML: TorchServe passes keys that it does not know on to the handler."""
ENGINE_FOLDER = "engine"
MAX_PIXELS = 100_000_000


@dataclass(frozen=True, kw_only=True)
class Part:
    """One model on one engine.

    model: a name of detserve's or "package.module:NAME"; settings: the fields of its spec; backend and plan: what the
    engine was built with; weights_sha256: of the file that it was built from; parity: the figures of the gate.
    """

    model: str
    settings: Mapping[str, Any]
    backend: str
    plan: EnginePlan
    weights_sha256: str
    parity: Mapping[str, Any]

    def spec(self) -> ModelSpec:
        """The model's spec with these settings. Raises BadSpec when they do not fit it."""
        return models.find(self.model).override(**self.settings)

    def engine(self, folder: Path, device: Device) -> Engine:
        """Load the engine from its folder. Raises BackendMissing when this machine cannot run it."""
        return engines.find(self.backend)(folder, self.spec(), self.plan, device)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a worker needs to load an archive, and what `repack.py --show` tells of it.

    detect: the model that finds; read: the one that reads what was found, in an archive of OCR; options: the defaults
    of the requests' options that have no place in a model's spec; max_pixels: larger pictures are refused;
    reduced_decode: whether a JPEG much larger than the input is decoded at a fraction of its size.
    """

    detect: Part
    read: Part | None = None
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
            raise BadArchive(f"the archive's YAML has no section {KEY!r}; pack it with repack.py")
        unknown = set(entry) - {f.name for f in fields(cls)}
        if unknown:
            made_by = entry.get(KEY, "another version")
            raise BadArchive(
                f"the archive was packed by detserve {made_by} ({', '.join(sorted(unknown))}); pack it anew"
            )
        try:
            read = entry.get("read")
            return cls(**{**entry, "detect": _part(entry["detect"]), "read": read and _part(read)})
        except (KeyError, TypeError) as error:
            raise BadArchive(f"the archive's YAML is not whole ({error}); pack it anew with repack.py") from error

    def pipeline(self, folder: Path, device: Device) -> Pipeline:
        """Load the engines of an unpacked archive. Raises BackendMissing when this machine cannot run them."""
        from detserve.worker.detector import detector
        from detserve.worker.pipeline import BatchPipeline, ReadingPipeline
        from detserve.worker.reader import Reader

        engine = self.detect.engine(folder / ENGINE_FOLDER / "detect", device)
        if not engine.spec.dynamic:
            return BatchPipeline(detector(engine), self.max_pixels, self.reduced_decode)
        reader = Reader(self.read.engine(folder / ENGINE_FOLDER / "read", device)) if self.read else None
        return ReadingPipeline(engine, reader, self.max_pixels, self.reduced_decode)


def _part(entry: Mapping[str, Any]) -> Part:
    return Part(**{**entry, "plan": EnginePlan(**entry["plan"])})

"""Source: an archive as other servers take it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from detserve.archives import archive, contents
from detserve.archives.recipe import PACK_IT, Recipe
from detserve.archives.verify import verify
from detserve.errors import BadArchive
from detserve.models.parts import PartedSpec

CORE = "detserve/worker/predictor.py"
RECIPE = "model.yaml"
"""The archive's YAML in a layout."""


@dataclass(frozen=True)
class Source:
    """An archive's name, version and recipe, and its files without what only TorchServe reads: name → content."""

    name: str
    version: str
    recipe: Recipe
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read an archive. Raises BadArchive for one that is damaged, not detserve's, or too old to be laid out."""
        found = archive.read(path)
        verify(path)
        if found.handler != contents.HANDLER:
            raise BadArchive(f"{path.name} has a handler of its own, {found.handler}, which only TorchServe can run")
        if CORE not in found.files:
            raise BadArchive(
                f"{path.name} was packed before other servers were thought of; pack it anew with {PACK_IT}"
            )
        yaml = f"{found.name}.yaml"
        with zipfile.ZipFile(path) as mar:
            files = {name: mar.read(name) for name in found.files if not name.startswith("MAR-INF/")}
        for own in (contents.HANDLER, contents.STARTUP):
            files.pop(own, None)  # archives of old have no start of their own
        files[RECIPE] = files.pop(yaml)
        return cls(found.name, found.version, found.recipe, files)

    @property
    def backends(self) -> set[str]:
        """What its engines run on."""
        return {model.backend for model in (self.recipe.detect, self.recipe.read) if model}

    @property
    def depth(self) -> bool:
        """Whether a picture comes with a depth map."""
        spec = self.recipe.detect.spec()
        return isinstance(spec, PartedSpec) and spec.has_depth

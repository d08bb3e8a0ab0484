"""Lineup: the models that a server should serve, from an archive of the store to READY workers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from zipfile import is_zipfile

from detserve.archives.checksums import check_sum
from detserve.errors import BadArchive, ServerFailed, SetupError
from detserve.places import packing, typed
from detserve.serve.defaults import registration
from detserve.serve.health import Roster
from detserve.serve.management import Management
from detserve.serve.model_config import ModelConfig, Registration


class Lineup:
    """The models of one server. models: name → how it is served; broken: name → why it is left out.

    tolerant: a model that fails is left out and named on stderr, as long as another is left; else its error is raised.
    """

    def __init__(self, tolerant: bool = False) -> None:
        self.models: dict[str, Registration] = {}
        self.broken: dict[str, str] = {}
        self._tolerant = tolerant

    def add(self, archive: Path, config_dir: Path, changes: Mapping[str, int]) -> None:
        """Add NAME.mar, to be served as config/NAME.yaml says, with these changes.

        Raises ServerFailed when there is no such file, BadArchive when it is no archive or was changed, BadSpec for a
        faulty YAML.
        """
        name = archive.stem
        with self._guard(name):
            if not archive.is_file():
                there = ", ".join(sorted(other.stem for other in archive.parent.glob("*.mar")))
                raise ServerFailed(f"no {archive}{there and f', only {there}'}: {packing(name)}")
            if not is_zipfile(archive):  # TorchServe would take it, and look for a handler in an empty folder
                raise BadArchive(f"{archive} is no archive: {typed('pack')} {name} makes it anew")
            check_sum(archive)
            config = ModelConfig.load(config_dir, name, registration(archive))
            self.models[name] = replace(config.serve, **changes)

    def check(self) -> None:
        """Raise ServerFailed when no model is left to serve."""
        if not self.models:
            raise ServerFailed(f"none of the models can be served: {', '.join(self.broken)}; the lines above say why")

    def start(self, management: Management, registered: bool) -> dict[str, int]:
        """Register the models, unless TorchServe has loaded them by itself → name: number of READY workers.

        Writes the roster for `health.check`. Raises ServerFailed when a model does not load.
        """
        if not registered:
            for name, serving in list(self.models.items()):
                with self._guard(name):
                    management.register(f"{name}.mar", name, serving)
        self._write(management)
        workers = {}
        for name in list(self.models):
            with self._guard(name):
                workers[name] = management.wait_ready(name)
            if name not in workers:
                with suppress(ServerFailed):  # refused where the API of models is off
                    management.unregister(name)  # TorchServe would start its workers again and again
        self.check()
        self._write(management)
        return workers

    def _write(self, management: Management) -> None:
        Roster(management.url, tuple(self.models), self.broken).write(management.run_dir)

    @contextmanager
    def _guard(self, name: str) -> Iterator[None]:
        try:
            yield
        except SetupError as error:
            if not self._tolerant:
                raise
            self.models.pop(name, None)
            self.broken[name] = str(error)
            print(f"serve: {name} is left out: {error}", file=sys.stderr, flush=True)

"""Health: whether a server serves all the models that it should. Their names are in a file in its run directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from detserve.errors import ServerFailed
from detserve.serve.management import Management

FILE = "models.json"


@dataclass(frozen=True)
class Roster:
    """What a server should serve. management: URL of its API; broken: name of a model that is left out → why."""

    management: str
    models: tuple[str, ...]
    broken: Mapping[str, str] = field(default_factory=dict)

    def write(self, run_dir: Path) -> None:
        """Write it into the run directory: whole, or not at all."""
        part = run_dir / f"{FILE}.part"
        part.write_text(json.dumps(asdict(self)), "utf-8")
        part.replace(run_dir / FILE)

    @classmethod
    def read(cls, run_dir: Path) -> Self:
        """The roster of the server in that folder. Raises ServerFailed when no server has written one yet."""
        try:
            return cls(**json.loads((run_dir / FILE).read_text("utf-8")))
        except FileNotFoundError:
            raise ServerFailed(f"no server has registered its models yet in {run_dir}; see its log") from None


@dataclass(frozen=True)
class Health:
    """healthy: whether every model on the roster has all of its workers ready; lines: one on each model."""

    healthy: bool
    lines: tuple[str, ...]


def check(run_dir: Path) -> Health:
    """Ask the server that runs in that folder. A model that was left out has a line, but does not count."""
    try:
        roster = Roster.read(run_dir)
    except ServerFailed as error:
        return Health(False, (str(error),))
    management = Management(roster.management, run_dir)
    healthy, lines = True, []
    for name in roster.models:
        try:
            model = management.describe(name)
        except ServerFailed as error:
            healthy = False
            lines.append(f"{name}: {error}")
            continue
        wanted = model["minWorkers"]
        ready = sum(worker["status"] == "READY" for worker in model["workers"])
        healthy = healthy and ready >= wanted > 0
        lines.append(f"{name}: {ready} of {wanted} workers ready")
    lines += [f"{name} is left out: {reason}" for name, reason in roster.broken.items()]
    return Health(healthy, tuple(lines))

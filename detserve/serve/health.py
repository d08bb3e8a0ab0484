"""Health: which models a server is to serve, written down in its run directory, and whether it serves them."""

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
    """What a server is to serve. management: URL of its API; broken: the models that are left out, and why."""

    management: str
    models: tuple[str, ...]
    broken: Mapping[str, str] = field(default_factory=dict)

    def write(self, run_dir: Path) -> None:
        """Write it into the run directory, whole at once."""
        part = run_dir / f"{FILE}.part"
        part.write_text(json.dumps(asdict(self)), "utf-8")
        part.replace(run_dir / FILE)

    @classmethod
    def read(cls, run_dir: Path) -> Self:
        """That of the server which runs in that folder. Raises ServerFailed where none has got that far."""
        try:
            return cls(**json.loads((run_dir / FILE).read_text("utf-8")))
        except FileNotFoundError:
            raise ServerFailed(f"no server has registered its models yet in {run_dir}; see its log") from None


@dataclass(frozen=True)
class Health:
    """Whether every model that is to be served has all of its workers ready, and a line on each."""

    healthy: bool
    lines: tuple[str, ...]


def check(run_dir: Path) -> Health:
    """Ask the server that runs in that folder. A model that was left out is told, and does no harm to the health."""
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

"""Whether every model of this container's server has its workers ready: exit status 0 or 1, and a line on each."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from detserve.serve.health import check  # noqa: E402


def main(arguments: list[str]) -> int:
    """→ exit status. arguments: the server's run directory, if it is not run/."""
    health = check(Path(arguments[0]) if arguments else ROOT / "run")
    print("\n".join(health.lines))
    return 0 if health.healthy else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

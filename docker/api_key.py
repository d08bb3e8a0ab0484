#!/usr/bin/env python
"""Print the key that calls to the server in this container need, renewed if it has expired: `api-key`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from detserve.errors import ServerFailed  # noqa: E402
from detserve.serve.health import Roster  # noqa: E402
from detserve.serve.management import Management  # noqa: E402


def main(arguments: list[str]) -> int:
    """→ exit status. arguments: the server's run directory, if it is not run/."""
    run_dir = Path(arguments[0]) if arguments else ROOT / "run"
    try:
        key = Management(Roster.read(run_dir).management, run_dir).key("inference")
    except ServerFailed as error:
        print(f"api-key: {error}", file=sys.stderr)
        return 1
    if key is None:
        print("api-key: this server asks for no keys", file=sys.stderr)
        return 1
    print(key)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

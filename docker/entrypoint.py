"""What the containers start: environment variables → serve.py, which replaces this process.

The container's arguments are handed on to serve.py behind those of the environment. docs/docker.md has the variables.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = {
    "WORKERS": "--workers",
    "BATCH_SIZE": "--batch-size",
    "MAX_BATCH_DELAY": "--max-batch-delay",
    "METRICS_ADDRESS": "--metrics-address",
    "TOKEN_AUTH": "--token-auth",
    "TOKEN_MINUTES": "--token-minutes",
}
FLAGS = {"TOLERATE_BROKEN": "--tolerate-broken", "NO_MODEL_API": "--no-model-api"}
# TorchServe replaces a key as soon as it expires. With its hour, every client's calls would end once an hour.
DEFAULTS = {"TOKEN_AUTH": "on", "TOKEN_MINUTES": str(366 * 24 * 60)}
ON, OFF = ("1", "true", "on", "yes"), ("", "0", "false", "off", "no")


def main(arguments: list[str]) -> None:
    """Become serve.py. Exits with status 1 and a line on stderr for a variable that makes no sense."""
    environment = DEFAULTS | {name: value for name, value in os.environ.items() if value}
    models = environment.get("MODELS", "").split()
    tolerant = _switch("TOLERATE_BROKEN", environment)
    command = [sys.executable, str(ROOT / "serve.py"), "--address", "0.0.0.0", *_options(environment)]
    if folder := environment.get("ENGINES"):
        import engines

        names = [model.partition("=")[0] for model in models]
        backend, precision = environment.get("BACKEND", "auto"), environment.get("PRECISION")
        command += ["--model-store", str(engines.prepare(Path(folder), names, backend, precision, tolerant))]
    _say_how_to_call(environment["TOKEN_AUTH"])
    os.execv(command[0], [*command, *models, *arguments])


def _options(environment: Mapping[str, str]) -> list[str]:
    pairs = [(option, environment[name]) for name, option in OPTIONS.items() if name in environment]
    flags = [flag for name, flag in FLAGS.items() if _switch(name, environment)]
    return [*(word for pair in pairs for word in pair), *flags]


def _switch(name: str, environment: Mapping[str, str]) -> bool:
    value = environment.get(name, "").lower()
    if value not in ON + OFF:
        sys.exit(f"entrypoint: {name} is on or off, 1 or 0, not {value!r}")
    return value in ON


def _say_how_to_call(token_auth: str) -> None:
    if token_auth == "off":
        print("No keys are asked for (TOKEN_AUTH=off): whoever reaches the port is answered.", flush=True)
        return
    container = socket.gethostname()  # the container's id, unless it was given another name
    print(f"Calls need a key: KEY=$(docker exec {container} api-key); TOKEN_AUTH=off asks for none.", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

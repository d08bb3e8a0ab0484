"""What the containers start: environment variables → serve.py, which replaces this process.

All variables are checked first: one that makes no sense ends this with status 1 and a line that names it. The
container's arguments are handed on to serve.py behind those of the environment, and looked at in the same way.
docs/docker.md has the variables.
"""

from __future__ import annotations

import io
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
YEAR = 366 * 24 * 60
"""In minutes."""
ON, OFF = ("1", "true", "on", "yes"), ("0", "false", "off", "no")


def main(arguments: list[str]) -> None:
    """Become serve.py. Exits with status 1 and a line on stderr for a variable that makes no sense."""
    environment = DEFAULTS | {name: value.strip() for name, value in os.environ.items() if value.strip()}
    try:
        words = {name: check(environment[name]) for name, check in CHECKS.items() if name in environment}
    except BadVariable as error:
        sys.exit(f"entrypoint: {error}")
    store = _model_store(arguments)
    tolerant = _is_on(environment.get("TOLERATE_BROKEN", "off"))
    command = [sys.executable, str(ROOT / "serve.py"), "--address", "0.0.0.0", *_options(words)]
    models = words.get("MODELS", "").split()
    names = [model.partition("=")[0] for model in models]
    if folder := words.get("ENGINES"):
        import engines

        backend, precision = environment.get("BACKEND", "auto"), environment.get("PRECISION")
        command += ["--model-store", str(engines.prepare(Path(folder), names, backend, precision, tolerant))]
    elif not tolerant:
        _find(names, store)
    _say_how_to_call(words["TOKEN_AUTH"])
    os.execv(command[0], [*command, *models, *arguments])


class BadVariable(ValueError):
    """A variable of the environment has a value that makes no sense."""


def _whole(name: str, least: int, most: int) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not (value.isascii() and value.isdecimal() and len(value) < 20 and least <= int(value) <= most):
            raise BadVariable(f"{name} is a whole number from {least} to {most}, not {value[:40]!r}")
        return value

    return check


def _switch(name: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value.lower() not in ON + OFF:
            raise BadVariable(f"{name} is on or off, 1 or 0, true or false, yes or no, not {value!r}")
        return "on" if _is_on(value) else "off"

    return check


def _is_on(value: str) -> bool:
    return value.lower() in ON


def _one_of(name: str, choices: Sequence[str]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in choices:
            raise BadVariable(f"{name} is one of {', '.join(choices)}, not {value!r}")
        return value

    return check


def _address(value: str) -> str:
    try:
        return str(IPv4Address(value))
    except AddressValueError:
        raise BadVariable(f"METRICS_ADDRESS is an IPv4 address, 0.0.0.0 for instance, not {value!r}") from None


def _engines(value: str) -> str:
    if not (ROOT / "repack.py").is_file():
        raise BadVariable("ENGINES: this image serves the archives that it holds and builds none: leave it out")
    path = Path(value).absolute()
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise BadVariable(f"ENGINES is a folder that this user may write, {value!r} is not: mount a volume there")
    return value


def _models(value: str) -> str:
    names = []
    for model in value.split():
        name, sign, workers = model.partition("=")
        if not name or (sign and not (workers.isascii() and workers.isdecimal())):
            raise BadVariable(f"MODELS is NAME or NAME=WORKERS each, 'fd1=2 td1' for instance, not {model!r}")
        if name in names:
            raise BadVariable(f"MODELS names {name} twice")
        names.append(name)
    return value


CHECKS: Mapping[str, Callable[[str], str]] = {
    "MODELS": _models,
    "WORKERS": _whole("WORKERS", 0, 1000),
    "BATCH_SIZE": _whole("BATCH_SIZE", 1, 1000),
    "MAX_BATCH_DELAY": _whole("MAX_BATCH_DELAY", 0, 60_000),
    "METRICS_ADDRESS": _address,
    "TOKEN_AUTH": _switch("TOKEN_AUTH"),
    "TOKEN_MINUTES": _whole("TOKEN_MINUTES", 1, 10 * YEAR),
    "STOP_TIMEOUT": _whole("STOP_TIMEOUT", 1, 86_400),
    "TOLERATE_BROKEN": _switch("TOLERATE_BROKEN"),
    "NO_MODEL_API": _switch("NO_MODEL_API"),
    "DETSERVE_THREADS": _whole("DETSERVE_THREADS", 1, 1000),
    "ENGINES": _engines,
    "BACKEND": _one_of("BACKEND", ("auto", "eager", "onnx", "openvino", "tensorrt", "torchscript")),
    "PRECISION": _one_of("PRECISION", ("auto", "fp32", "fp16", "bf16", "int8")),
}
"""Each variable's value → the same as serve.py takes it; raises BadVariable."""
OPTIONS = ("WORKERS", "BATCH_SIZE", "MAX_BATCH_DELAY", "METRICS_ADDRESS", "TOKEN_AUTH", "TOKEN_MINUTES", "STOP_TIMEOUT")
FLAGS = ("TOLERATE_BROKEN", "NO_MODEL_API")
"""The options of serve.py of these names with a value, and without one."""
# TorchServe replaces a key as soon as it expires. With its hour, every client's calls would end once an hour.
DEFAULTS = {"TOKEN_AUTH": "on", "TOKEN_MINUTES": str(YEAR), "STOP_TIMEOUT": "60"}


def _options(words: Mapping[str, str]) -> list[str]:
    pairs = [(name, words[name]) for name in OPTIONS if name in words]
    return [
        *(word for name, value in pairs for word in (_option(name), value)),
        *(_option(name) for name in FLAGS if words.get(name) == "on"),
    ]


def _option(name: str) -> str:
    return f"--{name.lower().replace('_', '-')}"


def _model_store(arguments: list[str]) -> Path:
    """That of the container's arguments. Exits with status 1 and a line where serve.py would not take them."""
    from detserve.serve.command import parse

    said = io.StringIO()
    try:
        with redirect_stderr(said):
            store: Path = parse(arguments, "serve.py").model_store
    except SystemExit as end:
        if end.code:
            sys.exit(f"entrypoint: {said.getvalue().strip().splitlines()[-1].partition('error: ')[2]}")
        raise  # --help
    return store


def _find(names: Sequence[str], store: Path) -> None:
    """Exit with status 1 where one of the models has no archive."""
    there = sorted(archive.stem for archive in store.glob("*.mar"))
    if lacking := [name for name in names if name not in there]:
        held = f"only {', '.join(there)}" if there else "which has none"
        sys.exit(f"entrypoint: MODELS: no archive of {' and '.join(lacking)} in {store}, {held}")


def _say_how_to_call(token_auth: str) -> None:
    if token_auth == "off":
        print("No keys are asked for (TOKEN_AUTH=off): whoever reaches the port is answered.", flush=True)
        return
    container = socket.gethostname()  # the container's id, unless it was given another name
    print(f"Calls need a key: KEY=$(docker exec {container} api-key); TOKEN_AUTH=off asks for none.", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

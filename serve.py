"""Serve the archives of the model store with TorchServe, in the foreground: `python serve.py [NAME ...]`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from zipfile import is_zipfile

from detserve.errors import BadArchive, ServerFailed, SetupError
from detserve.integrity import check_sum
from detserve.model_config import ModelConfig, Serving
from detserve.serving.config import LOOPBACK, Settings
from detserve.serving.frontend import ENDING, Frontend
from detserve.serving.management import Management

ROOT = Path(__file__).parent
TOKEN_AUTH = {"on": True, "off": False, "auto": None}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C → 0; 1 and one line on stderr when it cannot, or TorchServe ends by itself."""
    for number in ENDING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup stays in force
            signal.signal(number, _end)
    options = _parse(arguments)
    try:
        settings, models = _settings(options), _models(options)
        serve(replace(settings, preload=models) if options.no_model_api else settings, models)
    except SetupError as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    return 0


def serve(settings: Settings, models: dict[str, Serving]) -> None:
    """Start TorchServe, register these models of the store where it has not loaded them, and stay until it ends.

    Raises ServerFailed when it does not start, a model does not load, or it ends by itself.
    """
    begin = time.monotonic()
    print(f"Starting TorchServe with {', '.join(models)}", flush=True)
    with Frontend(settings) as frontend:
        management = Management(f"http://{LOOPBACK}:{settings.management_port}", settings.run_dir)
        if settings.preload is None:
            for name, model in models.items():
                management.register(f"{name}.mar", name, model)
        workers = {name: management.wait_ready(name) for name in models}
        served = ", ".join(f"{name} ({count} worker{'s'[: count > 1]})" for name, count in workers.items())
        print(f"Ready in {time.monotonic() - begin:.1f} s: {served}\n{_hint(settings, models)}", flush=True)
        frontend.wait()


def _hint(settings: Settings, models: dict[str, Serving]) -> str:
    host = LOOPBACK if settings.address == "0.0.0.0" else settings.address
    token, keys = "", ""
    if settings.tokens:
        token = '-H "Authorization: Bearer $KEY" '
        keys = f"\nRequests need a key, which expires after an hour: inference.key in {settings.key_file}"
    return f"Try: curl {token}-T img.jpg http://{host}:{settings.port}/predictions/{next(iter(models))}{keys}"


def _models(options: argparse.Namespace) -> dict[str, Serving]:
    store: Path = options.model_store
    names = options.names or sorted(archive.stem for archive in store.glob("*.mar"))
    if not names:
        raise ServerFailed(f"no archive in {store}: python repack.py fd1 makes {store / 'fd1.mar'}")
    for name in names:
        if not (archive := store / f"{name}.mar").is_file():
            raise ServerFailed(f"no {archive}: make model_store/{name}.mar, or python repack.py {name}")
        if not is_zipfile(archive):  # TorchServe would take it, and look for a handler in an empty folder
            raise BadArchive(f"{archive} is no archive: python repack.py {name} makes it anew")
        check_sum(archive)
    given = {key: getattr(options, key) for key in ("workers", "batch_size", "max_batch_delay")}
    changes = {key: value for key, value in given.items() if value is not None}
    return {name: replace(ModelConfig.load(ROOT / "config", name).serve, **changes) for name in names}


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        model_store=options.model_store,
        run_dir=options.run_dir,
        address=options.address,
        port=options.port,
        management_port=options.management_port,
        metrics_port=options.metrics_port,
        grpc_port=options.grpc_port,
        grpc_management_port=options.grpc_management_port,
        token_auth=TOKEN_AUTH[options.token_auth],
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="serve.py", description="Serve archives of the model store with TorchServe.")
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="models to serve, NAME.mar each (all of the model store)")
    add("--address", default=LOOPBACK, help="IPv4 address of inference; any but loopback asks for tokens (%(default)s)")
    add("--port", type=int, default=8080, help="inference (%(default)s)")
    add("--management-port", type=int, default=8081, help="management, on loopback only (%(default)s)")
    add("--metrics-port", type=int, default=8082, help="Prometheus metrics, on loopback only (%(default)s)")
    add("--grpc-port", type=int, default=7070, help="inference over gRPC (%(default)s)")
    add("--grpc-management-port", type=int, default=7071, help="management over gRPC, loopback only (%(default)s)")
    add("--model-store", type=Path, default=ROOT / "model_store", help="folder of the archives (model_store)")
    add("--run-dir", type=Path, default=ROOT / "run", help="logs, keys, effective configuration (run)")
    add("--workers", type=int, help="processes a model, 0 for one a core (from config/NAME.yaml)")
    add("--batch-size", type=int, help="most pictures a worker is given at once (from config/NAME.yaml)")
    add("--max-batch-delay", type=int, help="milliseconds a batch waits for others (from config/NAME.yaml)")
    add("--token-auth", choices=TOKEN_AUTH, default="auto", help="ask for tokens (auto: unless on loopback)")
    add("--no-model-api", action="store_true", help="load the models at the start; nobody can register or remove any")
    return parser.parse_args(arguments)


def _end(_number: int, _frame: FrameType | None) -> None:
    for number in ENDING:  # a second Ctrl-C must not interrupt the ending of the workers
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())

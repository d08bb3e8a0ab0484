"""The command that serves the archives of the model store with TorchServe, in the foreground."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from detserve.errors import BadSpec, ServerFailed, SetupError
from detserve.places import CONFIG_DIR, MODEL_STORE, RUN_DIR, typed
from detserve.serve.config import LOOPBACK, Settings
from detserve.serve.frontend import ENDING, Frontend
from detserve.serve.lineup import Lineup
from detserve.serve.management import Management

TOKEN_AUTH = {"on": True, "off": False, "auto": None}


def main(arguments: Sequence[str] | None = None, prog: str = "serve.py") -> int:
    """Serve until SIGTERM or Ctrl-C → 0; 1 and one line on stderr when it cannot, or TorchServe ends by itself."""
    for number in ENDING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup stays in force
            signal.signal(number, _end)
    options = parse(arguments, prog)
    try:
        settings, lineup = _settings(options), _lineup(options)
        serve(replace(settings, preload=dict(lineup.models)) if options.no_model_api else settings, lineup)
    except SetupError as error:
        print(f"{prog.removesuffix('.py')}: {error}", file=sys.stderr)
        return 1
    return 0


def serve(settings: Settings, lineup: Lineup) -> None:
    """Start TorchServe, register these models of the store where it has not loaded them, and stay until it ends.

    Raises ServerFailed when it does not start, a model does not load, or it ends by itself.
    """
    begin = time.monotonic()
    print(f"Starting TorchServe with {', '.join(lineup.models)}", flush=True)
    with Frontend(settings) as frontend:
        management = Management(f"http://{LOOPBACK}:{settings.management_port}", settings.run_dir)
        workers = lineup.start(management, registered=settings.preload is not None)
        served = ", ".join(f"{name} ({count} worker{'s'[: count > 1]})" for name, count in workers.items())
        left_out = f"; left out: {', '.join(lineup.broken)}" if lineup.broken else ""
        print(f"Ready in {time.monotonic() - begin:.1f} s: {served}{left_out}\n{_hint(settings, workers)}", flush=True)
        frontend.wait()


def _hint(settings: Settings, models: Iterable[str]) -> str:
    host = LOOPBACK if settings.address == "0.0.0.0" else settings.address
    token, keys = "", ""
    if settings.tokens:
        token = '-H "Authorization: Bearer $KEY" '
        keys = f"\nRequests need a key, good for {settings.token_minutes} minutes: inference.key in {settings.key_file}"
    return f"Try: curl {token}-T img.jpg http://{host}:{settings.port}/predictions/{next(iter(models))}{keys}"


def _lineup(options: argparse.Namespace) -> Lineup:
    store: Path = options.model_store
    models = dict(options.models or sorted((archive.stem, None) for archive in store.glob("*.mar")))
    if not models:
        raise ServerFailed(f"no archive in {store}: {typed('pack')} fd1 makes {store / 'fd1.mar'}")
    if len(models) < len(options.models):
        raise BadSpec(f"a model is named twice: {' '.join(name for name, _ in options.models)}")
    lineup = Lineup(options.tolerate_broken)
    for name, workers in models.items():
        given = {key: getattr(options, key) for key in ("workers", "batch_size", "max_batch_delay")}
        if workers is not None:
            given["workers"] = workers
        changes = {key: value for key, value in given.items() if value is not None}
        lineup.add(store / f"{name}.mar", CONFIG_DIR, changes)
    lineup.check()
    return lineup


def _model(text: str) -> tuple[str, int | None]:
    """'fd1=2' → ("fd1", 2), 'fd1' → ("fd1", None)."""
    name, sign, workers = text.partition("=")
    if not name or (sign and not workers.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME or NAME=WORKERS, fd1=2 for instance")
    return name, int(workers) if sign else None


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
        metrics_address=options.metrics_address,
        token_auth=TOKEN_AUTH[options.token_auth],
        token_minutes=options.token_minutes,
        stop_timeout=options.stop_timeout,
    )


def parse(arguments: Sequence[str] | None, prog: str) -> argparse.Namespace:
    """The command line. Exits with status 2 and argparse's lines for one that makes no sense."""
    parser = argparse.ArgumentParser(prog=prog, description="Serve archives of the model store with TorchServe.")
    add = parser.add_argument
    add(
        "models",
        nargs="*",
        type=_model,
        metavar="NAME[=WORKERS]",
        help="models to serve, NAME.mar each (all there are)",
    )
    add("--address", default=LOOPBACK, help="IPv4 address of inference; any but loopback asks for tokens (%(default)s)")
    add("--port", type=int, default=8080, help="inference (%(default)s)")
    add("--management-port", type=int, default=8081, help="management, on loopback only (%(default)s)")
    add("--metrics-port", type=int, default=8082, help="Prometheus metrics (%(default)s)")
    add("--metrics-address", default=LOOPBACK, help="IPv4 address of the metrics, which need no token (%(default)s)")
    add("--grpc-port", type=int, default=7070, help="inference over gRPC (%(default)s)")
    add("--grpc-management-port", type=int, default=7071, help="management over gRPC, loopback only (%(default)s)")
    add("--model-store", type=Path, default=MODEL_STORE, help="folder of the archives (model_store)")
    add("--run-dir", type=Path, default=RUN_DIR, help="logs, keys, effective configuration (run)")
    add("--workers", type=int, help="processes a model, 0 for one a core (from config/NAME.yaml)")
    add("--batch-size", type=int, help="most pictures a worker is given at once (from config/NAME.yaml)")
    add("--max-batch-delay", type=int, help="milliseconds a batch waits for others (from config/NAME.yaml)")
    add("--token-auth", choices=TOKEN_AUTH, default="auto", help="ask for tokens (auto: unless on loopback)")
    add("--token-minutes", type=int, default=60, help="how long a token is good for (%(default)s)")
    add("--stop-timeout", type=int, default=25, help="seconds that ending may take, answers included (%(default)s)")
    add("--tolerate-broken", action="store_true", help="leave out and name a model that cannot be loaded")
    add("--no-model-api", action="store_true", help="load the models at the start; nobody can register or remove any")
    return parser.parse_args(arguments)


def _end(_number: int, _frame: FrameType | None) -> None:
    for number in ENDING:  # a second Ctrl-C must not interrupt the ending of the workers
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)

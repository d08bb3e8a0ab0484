"""The command that serves the page: at 127.0.0.1:8088, in front of a server that it finds or starts."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from types import FrameType

import uvicorn

from detserve.demo.app import make
from detserve.demo.upstream import Upstream, answers
from detserve.errors import BadSpec, ServerFailed, SetupError
from detserve.places import MODEL_STORE, RUN_DIR
from detserve.serve.config import LOOPBACK, Settings
from detserve.serve.frontend import ENDING
from detserve.serve.launch import launch

TOKEN = "DETSERVE_TOKEN"
"""The variable of the environment that holds the server's token: a command line can be read by others."""


def main(arguments: Sequence[str] | None = None, prog: str = "detserve demo") -> int:
    """Serve until SIGTERM or Ctrl-C → 0; 1 and one line on stderr when it cannot."""
    for number in ENDING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup stays in force
            signal.signal(number, _end)
    options = _parse(arguments, prog)
    try:
        with _listener(options.address, options.port) as listener, _upstream(options) as upstream:
            app = make(upstream, options.address)
            host = f"[{options.address}]" if ":" in options.address else options.address
            print(f"The page: http://{host}:{options.port} (Ctrl-C ends it)", flush=True)
            config = uvicorn.Config(
                app, access_log=False, log_level="warning", server_header=False, ws="none", timeout_graceful_shutdown=5
            )
            uvicorn.Server(config).run([listener])
    except SetupError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _upstream(options: argparse.Namespace) -> Iterator[Upstream]:
    """The server that is named, else the one at 127.0.0.1:8080, else one that is started, and ended with the block."""
    settings = Settings(model_store=MODEL_STORE, run_dir=RUN_DIR)
    here = f"http://{LOOPBACK}:{settings.management_port}"
    upstream = Upstream(
        url=options.url or f"http://{LOOPBACK}:{settings.port}",
        token=os.environ.get(TOKEN),
        management=options.management or (None if options.url else here),
        models=options.models,
    )
    if answers(upstream):
        print(f"Using the server at {upstream.url}", flush=True)
        yield upstream
    elif options.url:
        raise ServerFailed(f"no server answers at {upstream.url}")
    else:
        print("Starting a server", flush=True)
        with launch(settings) as server:
            print(server.printed.splitlines()[-2], flush=True)
            yield upstream


@contextmanager
def _listener(address: str, port: int) -> Iterator[socket.socket]:
    try:
        if ip_address(address).is_unspecified:
            raise BadSpec(f"{address} stands for all addresses, and the page answers to one: --address names it")
        family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
        listener = socket.create_server((address, port), family=family)
    except ValueError:
        raise BadSpec(f"--address wants an IP address, not {address!r}") from None
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise ServerFailed(f"cannot listen on {address}:{port}: {reason}; --port names another port") from error
    with listener:
        yield listener


def _parse(arguments: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Serve a page to try the models in a browser. Without --url it uses the server at "
        f"{LOOPBACK}:8080, and starts one where none answers.",
        epilog=f"A server that asks for a token: its inference key in the environment's {TOKEN}.",
    )
    add = parser.add_argument
    add("--url", metavar="URL", help="the server to ask, http://HOST:PORT")
    add("--management", metavar="URL", help="with --url: its management API, which lists its models")
    add("--models", nargs="+", default=(), metavar="NAME", help="the models to show (those that the server has)")
    add(
        "--address",
        default=LOOPBACK,
        help="of the page; on any but loopback others can use the server too (%(default)s)",
    )
    add("--port", type=int, default=8088, help="of the page (%(default)s)")
    return parser.parse_args(arguments)


def _end(_number: int, _frame: FrameType | None) -> None:
    for number in ENDING:  # a second Ctrl-C must not interrupt the ending of a server that was started
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)

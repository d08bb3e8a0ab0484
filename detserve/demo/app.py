"""App: the page's files, the list of models, and predictions handed on to the server, all from one origin."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TypedDict

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from detserve.demo.forward import Predictions, no_server
from detserve.demo.guard import Guard
from detserve.demo.upstream import Upstream
from detserve.places import CONFIG_DIR
from detserve.serve.config import template

STATIC = Path(__file__).with_name("static")
LIMIT = int(template(CONFIG_DIR)["max_request_size"])
"""Bytes of a body that TorchServe takes."""
TIMEOUT = httpx.Timeout(130.0, connect=5.0)
"""Seconds. TorchServe gives up a prediction after 120."""


class State(TypedDict):
    """What lives as long as the application."""

    client: httpx.AsyncClient


def make(upstream: Upstream, address: str) -> Starlette:
    """The application. address: where it listens, by which it may be asked for, beside the names of this machine."""

    async def models(request: Request) -> Response:
        try:
            names = await upstream.served(request.state.client)
        except httpx.TransportError:
            return no_server(upstream)
        facts = {"models": names, "server": upstream.url, "token": upstream.token is not None, "limit": LIMIT}
        return JSONResponse(facts)

    mimetypes.add_type("text/plain", ".yaml")  # which browsers show, whatever this machine calls it
    hosts = {"127.0.0.1", "localhost", "[::1]", f"[{address}]" if ip_address(address).version == 6 else address}
    return Starlette(
        routes=[
            Route("/models", models),
            Route("/predictions/{name}", Predictions(upstream, LIMIT), methods=["PUT", "POST"]),
            Mount("/", StaticFiles(directory=STATIC, html=True, follow_symlink=True)),
        ],
        middleware=[Middleware(Guard, hosts=frozenset(hosts))],
        lifespan=_lifespan,
    )


@asynccontextmanager
async def _lifespan(_app: Starlette) -> AsyncIterator[State]:
    async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:  # a proxy would see pictures and token
        yield {"client": client}

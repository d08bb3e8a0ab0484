"""Upstream: the server that the page asks, where it is and which models it has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from detserve.client.protocol import headers, path
from detserve.errors import BadSpec
from detserve.places import CONFIG_DIR

LOOK_SECONDS = 3.0
"""How long a server may take to say that it is there, or which models it has."""


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A running server. url: of its inference; token: for a server that asks for one, never told to the page.

    management: URL of its management API, which lists the models, where that can be reached; models: the names to show,
    in place of what it lists. Raises BadSpec for a URL that is none of HTTP, or that holds a password.
    """

    url: str
    token: str | None = None
    management: str | None = None
    models: Sequence[str] = ()

    def __post_init__(self) -> None:
        for url in (self.url, self.management):
            if url is None:
                continue
            try:
                parsed = httpx.URL(url)
            except httpx.InvalidURL as error:
                raise BadSpec(f"--url wants http://HOST:PORT, not {url!r}: {error}") from None
            if parsed.scheme not in ("http", "https") or not parsed.host:
                raise BadSpec(f"--url wants http://HOST:PORT, not {url!r}")
            if parsed.userinfo:
                raise BadSpec("--url must hold no user and no password: the page shows it")

    @property
    def authorization(self) -> dict[str, str]:
        """The header that carries the token, where there is one."""
        return headers(token=self.token)

    def prediction(self, model: str) -> str:
        """The URL that answers pictures."""
        return self.url.rstrip("/") + path(model)

    async def served(self, client: httpx.AsyncClient) -> list[str]:
        """The names of its models, sorted, fd1 first: those named, else those that its management API lists.

        A management API that is away or asks for a token of its own lists none. Then the names that detserve has a
        configuration for are tried. Raises httpx.TransportError where the server does not answer.
        """
        names = list(self.models) or await self._listed(client)
        if not names:
            names = [file.stem for file in CONFIG_DIR.glob("*.yaml") if file.stem != "metrics"]
        there = await asyncio.gather(*(self._has(client, name) for name in names))
        found = (name for name, here in zip(names, there, strict=True) if here)
        return sorted(found, key=lambda name: (name != "fd1", name))

    async def _listed(self, client: httpx.AsyncClient) -> list[str]:
        if self.management is None:
            return []
        try:
            answer = await client.get(f"{self.management.rstrip('/')}/models?limit=1000", timeout=LOOK_SECONDS)
            return [model["modelName"] for model in answer.raise_for_status().json()["models"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return []

    async def _has(self, client: httpx.AsyncClient, name: str) -> bool:
        """TorchServe describes a model without the work of a prediction; for want of a good token it says 400.

        A proxy may let nothing through but predictions. So it is asked for one of nothing, which a model refuses.
        """
        for method in ("OPTIONS", "PUT"):
            answer = await client.request(
                method, self.prediction(name), headers=self.authorization, timeout=LOOK_SECONDS
            )
            if answer.status_code != httpx.codes.METHOD_NOT_ALLOWED:
                break
        return answer.status_code != httpx.codes.NOT_FOUND


def answers(upstream: Upstream) -> bool:
    """Whether a TorchServe listens there. Raises BadSpec where something else answers.

    /ping says a status, or, where the token is not good, what is wrong with it: then the page says so, too.
    """
    try:
        url = f"{upstream.url.rstrip('/')}/ping"
        said = httpx.get(url, headers=upstream.authorization, timeout=LOOK_SECONDS, trust_env=False).json()
        if isinstance(said, dict) and (said.keys() >= {"status"} or said.keys() >= {"code", "type", "message"}):
            return True
    except httpx.TransportError:
        return False
    except ValueError:
        pass
    raise BadSpec(f"what listens at {upstream.url} is not TorchServe: name the server with --url")

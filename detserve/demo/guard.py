"""Guard: what stands between the page and other sites that a visitor's browser shows.

The page can spend the token of the server behind it. So a site elsewhere must not be able to use it through the browser
of somebody who has it open: neither by a request to it (Origin, Sec-Fetch-Site), nor under a name of its own that it
lets point here (Host), nor by showing it in a frame (frame-ancestors).
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "; ".join(f"{directive} {sources}" for directive, sources in POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
"""Of every answer. No code and no style stands in the HTML, and nothing comes from or goes to another address."""
_READ = ("GET", "HEAD")


class Guard:
    """Middleware that refuses what another site sends, with 403, and adds HEADERS to every answer.

    hosts: the names and addresses by which the page may be asked for, without ports.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refused = self._refusal(scope["method"], scope["scheme"], Headers(scope=scope))
        app = self.app if refused is None else error(403, "foreign_site", refused)
        await app(scope, receive, send_with_headers)

    def _refusal(self, method: str, scheme: str, headers: Headers) -> str | None:
        """Why a request is refused; None where it is not."""
        host = headers.get("host", "")
        name, _, port = host.rpartition(":")
        if (name if port.isdecimal() else host) not in self.hosts:
            return f"this page is not served under the name {host[:80]!r}"
        if method in _READ:  # a link from elsewhere may lead here; what it leads to is not readable there
            return None
        own = headers.get("origin", f"{scheme}://{host}") == f"{scheme}://{host}"
        if not own or headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return "another site may not send pictures through this page"
        return None


def error(status: int, kind: str, message: str) -> JSONResponse:
    """An error in the form that the server has for its own."""
    return JSONResponse({"code": status, "type": kind, "message": message}, status)

"""The guard: which requests the page's server answers at all.

A server on loopback can be reached by every page that the same browser has open. So a request must
name this server as its host (which keeps out names that an attacker points at 127.0.0.1, DNS
rebinding), must not come from another origin, asks only to read, and is small. Every answer forbids
the browser to load or run anything that is not this server's.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vmexit_sim.explorer.state import LONGEST_QUERY

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""What every answer says besides itself."""

ROOM = 64
"""Bytes that a query may have besides a state."""


def hosts_of(port: int) -> frozenset[str]:
    """What this server is called in requests.

    Args:
        port: the port it listens on.
    """
    names = ("127.0.0.1", "localhost", "[::1]")
    bare = names if port == 80 else ()  # which browsers leave out
    return frozenset({*(f"{name}:{port}" for name in names), *bare})


class Guard:
    """Answers what may not pass, and lets an application answer the rest.

    Args:
        app: the application.
        hosts: what it is called, with its port.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app, self.hosts = app, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer why not."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # nobody here speaks anything else
            await send({"type": "websocket.close", "code": 1008})
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, marked)
            return
        status, why = refusal
        await PlainTextResponse(f"{why}\n", status)(scope, receive, marked)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request is not answered: status and sentence."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return 421, "This server answers only to its own address on this machine."
        origins = headers.getlist("origin")
        if any(origin.lower() not in {f"http://{host}" for host in self.hosts}
               for origin in origins):  # fmt: skip
            return 403, "This server does not answer other sites."
        elsewhere = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if elsewhere and not _is_a_visit(headers):
            return 403, "This server does not answer other sites."
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "This server is only read from."
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return 413, "This server takes no bodies."
        if len(scope["query_string"]) > LONGEST_QUERY + ROOM:
            return 414, f"A state has at most {LONGEST_QUERY:,} characters."
        return None


def _is_a_visit(headers: Headers) -> bool:
    """Whether a person followed a link: nothing of the answer is shown to the page it was on."""
    mode, shown_as = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
    return mode == "navigate" and shown_as == "document"

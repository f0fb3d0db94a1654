"""What holds for every request: who may ask, and which headers every answer has."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob:; connect-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""Nothing comes from elsewhere, and no other site may embed the page or read from it."""


_FOREIGN = "that came from another page; use the page itself."


class SecurityMiddleware:
    """Refuse requests under foreign names and from foreign pages.

    A page elsewhere can make its own name point to this machine (DNS rebinding): its requests carry that name in
    `Host`. It can also send requests here directly: they carry its `Origin`, or, for its images, frames and scripts,
    `Sec-Fetch-Site`.

    Args:
        app: Application that gets the requests that are let through.
        names: Host names under which the page may be asked for, beside `localhost` and any IP address: an address
            can't be rebound.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        line = self._refusal(scope["method"], Headers(scope=scope))
        answer = self._app if line is None else refused(Headers(scope=scope), line, 403, {"connection": "close"})
        await answer(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if not self._is_known(_without_port(host)):
            return "this page is not known under that name; see nst app --help, --names."
        is_foreign = headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
        if method in ("GET", "HEAD"):
            is_foreign &= headers.get("sec-fetch-dest") != "document"  # a link may lead here
            return _FOREIGN if is_foreign else None
        origin = headers.get("origin")
        if is_foreign or (origin is not None and origin.partition("://")[2] != host):
            return _FOREIGN
        return None

    def _is_known(self, name: str) -> bool:
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower().rstrip(".") in self._names
        return True


def refused(headers: Headers, line: str, status: int, sent: Mapping[str, str] | None = None) -> Response:
    """Return the answer to what is refused: text where a browser shows it as a page, else JSON.

    Args:
        headers: Headers of the request.
        line: What is wrong and what to do.
        status: Status code.
        sent: Further headers of the answer.
    """
    if headers.get("sec-fetch-dest") == "document":
        return PlainTextResponse(f"{line[:1].upper()}{line[1:]}\n", status, sent)
    return JSONResponse({"error": line}, status, sent)


def is_visit(headers: Headers) -> bool:
    """Return whether a request for the page is that of somebody who wants to see it.

    Otherwise a page elsewhere could make visitors here by the thousand, with images, frames or windows. Browsers of
    before 2023 (Fetch Metadata, W3C) only tell what kind of answer they accept.

    Args:
        headers: Headers of the request.
    """
    if "sec-fetch-dest" not in headers:
        accepted = headers.get("accept", "*/*")
        return accepted == "*/*" or "text/html" in accepted
    is_own = headers.get("sec-fetch-site") in ("same-origin", "none") or headers.get("sec-fetch-user") == "?1"
    is_shown = "prefetch" not in headers.get("sec-purpose", "")
    return headers["sec-fetch-dest"] == "document" and is_own and is_shown


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def own_names() -> set[str]:
    """Return the names that this machine has."""
    return {socket.gethostname(), socket.getfqdn()}

"""Which pages may open a WebSocket: those of this very origin, by scheme, host and port.

Browsers send cookies with a WebSocket to anybody's page and do not ask the server first. Comparing hosts alone, as
channels' AllowedHostsOriginValidator does, would let in any page served from another port of this machine, such as an
agent's development server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from events.admission import Credentials

_PORTS = {"http": 80, "https": 443}
_SCHEMES = {"ws": "http", "wss": "https"}


class _Application(Protocol):
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class ExactOrigin:
    """Refuses the handshake with 403 when the page is not one of ours.

    A program sends no `Origin`; it is let through with a token, never with a cookie.
    """

    def __init__(self, application: _Application) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if may_connect(scope):
            await self._application(scope, receive, send)
        else:
            fix = "Open the console under its own address, or set server.public_url to the one people use."
            await refuse(scope, send, 403, {"title": "This page may not open a WebSocket here", "fix": fix})


def may_connect(scope: Mapping[str, Any]) -> bool:
    """Whether a handshake comes from a page of this server, or from a program with a token."""
    headers: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.lower(), []).append(value.decode("latin-1"))
    hosts, origins = headers.get(b"host", []), headers.get(b"origin", [])
    if len(hosts) != 1 or len(origins) > 1 or not _allowed(hosts[0]):
        return False
    if not origins:
        return bool(Credentials.of_socket(scope).authorization)
    page = _parts(origins[0])
    here = _parts(f"{_SCHEMES.get(scope.get('scheme', 'ws'), 'http')}://{hosts[0]}")
    trusted = {_parts(origin) for origin in settings.CSRF_TRUSTED_ORIGINS}
    return page is not None and (page == here or page in trusted)


def _allowed(host: str) -> bool:
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


def _parts(origin: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None for what is not an origin, such as `null` or one with a path."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        return None
    if parts.path or parts.query or parts.fragment:
        return None
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme]


async def refuse(scope: Mapping[str, Any], send: Any, status: int, problem: Mapping[str, Any]) -> None:
    """Answer a WebSocket handshake with problem details instead of opening it."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
        return
    body = json.dumps({"type": "about:blank", "status": status, **problem}).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


async def nowhere(scope: Any, receive: Any, send: Any) -> None:
    """The last WebSocket route: there is nothing at this path."""
    await refuse(scope, send, 404, {"title": "Not Found", "detail": f"There is no WebSocket at {scope['path']}"})

"""Which pages may open a WebSocket: those of this very origin, by scheme, host and port.

Browsers send cookies with a WebSocket to anybody's page and do not ask the server first. Comparing hosts alone, as
channels' AllowedHostsOriginValidator does, would let in any page served from another port of this machine, such as an
agent's development server.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from events.admission import Credentials

_SHOWN = {b"origin", b"host"}
_FIX = "if people use the console under another address, set server.public_url to it"
_PORTS = {"http": 80, "https": 443}
_SCHEMES = {"ws": "http", "wss": "https"}


logger = logging.getLogger(__name__)


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
            return
        shown = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _SHOWN}
        logger.warning("a WebSocket was refused, its page is not of this server: %s; %s", shown, _FIX)
        await refuse(scope, receive, send)


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


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application that opens no WebSocket: the handshake is answered with 403."""
    await send({"type": "websocket.close"})

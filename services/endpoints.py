"""Where checks ask: whether what people write can be an address at all."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from services.states import ProbeKind

_LAST_PORT = 65535


def check_endpoint(kind: str, endpoint: str) -> None:
    """Raise ValueError that says what to write.

    Args:
        kind: of the check; those that have no endpoint may have any.
        endpoint: of http a URL or a path; of tcp HOST:PORT, or nothing; of mcp a URL, or nothing.
    """
    if kind == ProbeKind.HTTP and not endpoint.startswith("/"):
        _check_url(endpoint, 'an http check needs an endpoint: "endpoint": "http://localhost:8080/health"')
    if kind == ProbeKind.MCP and endpoint:
        check_mcp_url(endpoint)
    if kind == ProbeKind.TCP and endpoint:
        found = re.fullmatch(r"(\S+:)?(\d{1,5})", endpoint)
        if found is None or not 1 <= int(found[2]) <= _LAST_PORT:
            raise ValueError('the endpoint of a tcp check is HOST:PORT: "endpoint": "localhost:5432"')
    if not endpoint.isprintable():
        raise ValueError(f"{endpoint!r} has characters that no address has")


def check_mcp_url(url: str) -> None:
    """Raise ValueError that says what to write."""
    _check_url(url, 'the address of an MCP server is written like "http://127.0.0.1:8003/mcp"')


def _check_url(url: str, wanted: str) -> None:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        fits = fits and not re.search(r"\s", parts.netloc)
    except ValueError:  # a port that is none, brackets that do not close
        fits = False
    if not fits:
        raise ValueError(wanted)

"""Does a stage answer on its health path?"""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit

ANSWER_S = 2.0
"""Seconds a stage has to answer."""


def answers(url: str, *, timeout: float = ANSWER_S, authority: Path | None = None) -> bool:
    """Whether a plain GET on this machine gets a 200; no proxy is asked and no redirect followed.

    Args:
        url: `http://localhost:8081/health`; one that begins with https is believed only with a good certificate.
        timeout: seconds.
        authority: the certificate of the authority that issued it; default what the system trusts.
    """
    parts = urlsplit(url)
    try:
        connection = _connection(parts.scheme, parts.hostname or "", parts.port, timeout, authority)
    except (OSError, ValueError):  # an authority that cannot be read vouches for nobody
        return False
    try:
        connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _connection(
    scheme: str, host: str, port: int | None, timeout: float, authority: Path | None
) -> http.client.HTTPConnection:
    if scheme != "https":
        return http.client.HTTPConnection(host, port, timeout=timeout)
    context = ssl.create_default_context(cafile=authority)
    return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)

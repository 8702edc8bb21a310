"""Does a stage answer on its health path?"""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

ANSWER_S = 2.0
"""Seconds a stage has to answer."""


def answers(url: str, *, timeout: float = ANSWER_S) -> bool:
    """Whether a plain GET on this machine gets a 200; no proxy is asked and no redirect followed.

    Args:
        url: `http://127.0.0.1:8081/health`.
        timeout: seconds.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

"""POST to a webhook, by the standard library alone.

Unlike an HTTP client made for browsing it follows no redirect, takes no proxy or password out of the environment, and
connects to the very address that was checked. The deadline holds for all of it, however slowly the other side drips.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

from common.redaction import MASK, mask_url
from events.drivers.outcome import NotDelivered
from events.drivers.reach import connect

TIMEOUT_S = 10.0
KEPT_CHARS = 500  # of what a receiver answers when it does not take it
_READ_BYTES = 4 * KEPT_CHARS
_GONE = frozenset({404, 410})
_SECRETIVE = 12  # characters from which on a part of a path may be a password


def post(url: str, body: bytes, headers: Mapping[str, str], *, timeout: float = TIMEOUT_S) -> int:
    """Send it once.

    Args:
        timeout: seconds for connecting, sending and the answer together; looking the name up comes on top.

    Returns: the status, 200 to 299. Raises: NotDelivered, with the first 500 characters of the answer.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    ends = time.monotonic() + timeout
    sock = connect(host, port, timeout=timeout)
    conversation = http.client.HTTPSConnection(host, port) if secure else http.client.HTTPConnection(host, port)
    with _Deadline(ends - time.monotonic()) as deadline:
        try:
            conversation.sock = deadline.guard(_encrypted(sock, host, deadline) if secure else sock)
            conversation.request("POST", target, body=body, headers=dict(headers))
            answer = conversation.getresponse()
            text = answer.read(_READ_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = deadline.passed or isinstance(error, TimeoutError)
            raise NotDelivered(_late(host, timeout) if late else f"{host} {_told(error)}") from error
        finally:
            conversation.close()
            sock.close()
    if deadline.passed:  # what was cut off looks like an end
        raise NotDelivered(_late(host, timeout))
    if not 200 <= answer.status < 300:
        raise NotDelivered(_refusal(host, answer.status, text, target), gone=answer.status in _GONE)
    return answer.status


def _encrypted(sock: socket.socket, host: str, deadline: _Deadline) -> socket.socket:
    """The certificate must be valid, and the host's."""
    context = ssl.create_default_context()
    wrapped = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    deadline.guard(wrapped)
    try:
        wrapped.do_handshake()
    except BaseException:
        wrapped.close()
        raise
    return wrapped


def _refusal(host: str, status: int, text: bytes, target: str) -> str:
    if 300 <= status < 400:
        return f"{host} answered {status}: redirects are not followed"
    said = " ".join("".join(c if c.isprintable() else " " for c in text.decode("utf-8", "replace")).split())
    said = _without(target, mask_url(said))[:KEPT_CHARS]
    return f"{host} answered {status}" + (f": {said}" if said else "")


def _without(target: str, said: str) -> str:
    """What was said, without the path that was asked for: many a server repeats it, and it is often a password."""
    parts = {part for part in re.split(r"[/?&=]", target) if len(part) >= _SECRETIVE}
    for part in sorted({target, unquote(target), *parts}, key=len, reverse=True):
        said = said.replace(part, MASK) if part.strip("/") else said
    return said


def _late(host: str, timeout: float) -> str:
    return f"{host} did not answer within {timeout:g} s"


def _told(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has a certificate that cannot be trusted: {error.verify_message}"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionError):
        return "hung up without an answer"
    return f"cannot be talked to: {str(error) or type(error).__name__}"


class _Deadline:
    """Cuts a connection when its time is over: a socket's own timeout begins anew with every byte."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._sock: socket.socket | None = None
        self._timer = threading.Timer(max(0.0, seconds), self._cut)
        self._timer.daemon = True

    def guard(self, sock: socket.socket) -> socket.socket:
        self._sock = sock
        return sock

    def _cut(self) -> None:
        self.passed = True
        if self._sock is not None:
            with suppress(OSError):  # SSLSocket.shutdown would take its state away from under who reads
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._timer.cancel()

"""The address of a mail server, as one URL: `smtp://USER:PASSWORD@HOST:587?tls=starttls`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from common.errors import InvalidInput
from common.redaction import mask_url

_FIX = "Write smtp://USER:PASSWORD@HOST:587, smtps://USER:PASSWORD@HOST:465, or smtp://localhost:25?tls=none."
_PORTS = {"starttls": 587, "ssl": 465, "none": 25}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class MailServer:
    """Where mail is handed in. tls: `starttls`, `ssl` (from the first byte) or `none`."""

    host: str
    port: int
    username: str
    password: str
    tls: str


def mail_server(url: str) -> MailServer:
    """What the URL names. Without `tls` it is starttls, on this machine none; without a port it is the usual one.

    Raises: InvalidInput, also for a password that would cross the network in the clear.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput(f"{mask_url(url)!r} is not a URL: {error}", fix=_FIX) from None
    host = parts.hostname or ""
    if parts.scheme not in {"smtp", "smtps"} or not host or parts.path.strip("/"):
        raise InvalidInput(f"{mask_url(url)!r} is not the URL of a mail server", fix=_FIX)
    usual = "ssl" if parts.scheme == "smtps" else "none" if host in _LOOPBACK else "starttls"
    tls = parse_qs(parts.query).get("tls", [usual])[-1]
    if tls not in _PORTS:
        raise InvalidInput(f"there is no tls={tls} for mail", fix=f"There are: {', '.join(_PORTS)}.")
    if tls == "none" and parts.password and host not in _LOOPBACK:
        raise InvalidInput(
            f"the password for {host} would cross the network in the clear", fix="Leave tls=none away, or the password."
        )
    return MailServer(host, port or _PORTS[tls], unquote(parts.username or ""), unquote(parts.password or ""), tls)

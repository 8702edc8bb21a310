"""Asking over HTTP: one GET, its status, and a text that its body must contain."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import httptools

from services.drivers.probes import Bad, Result, connect, good, reason, short

_MOST_BODY = 262_144
_MOST_HEAD = 65_536
_EXCERPT = 200  # characters of a body that tells why
_MOST_REDIRECTS = 5
_SAFE = "/?%:@!$&'()*+,;=~-._"  # what a path and a query may have as it is (RFC 3986), and what was encoded already
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Wanted:
    """What counts as well.

    Args:
        status: one of these; none for any of 200 to 399.
        text: what the body must contain (of its first 256 kB); "" for nothing.
    """

    status: tuple[int, ...] = ()
    text: str = ""

    def fits(self, status: int) -> bool:
        """Whether that status is well."""
        return status in self.status if self.status else 200 <= status < 400


async def http(
    url: str,
    *,
    wanted: Wanted = Wanted(),
    headers: Mapping[str, str] | None = None,
    any_certificate: bool = False,
) -> Result:
    """GET a URL.

    Redirects are followed on the same host and port only, at most five of them; one that leads away is an answer like
    any other. With a `status` wanted none is followed: the first answer counts.

    Args:
        url: http or https.
        headers: sent besides; a `Host` replaces the URL's.
        any_certificate: accept one that no authority known here has signed, such as a local one.
    """
    for _ in range(_MOST_REDIRECTS + 1):
        answer = await _get(urlsplit(url), wanted, headers or {}, any_certificate)
        target = urljoin(url, answer.location)
        if wanted.status or not answer.redirects or _place(target) != _place(url):
            return _judge(answer, wanted)
        url = target
    raise Bad(f"more than {_MOST_REDIRECTS} redirects, the last one to {short(url, 100)}")


def _judge(answer: _Answer, wanted: Wanted) -> Result:
    said = _said(answer.status)
    if not wanted.fits(answer.status):
        expected = f", not {' or '.join(map(str, wanted.status))}" if wanted.status else ""
        excerpt = short(answer.text, _EXCERPT)
        raise Bad(f"{said}{expected}: {excerpt}" if excerpt else f"{said}{expected}")
    if wanted.text and wanted.text not in answer.text:
        raise Bad(f"{said}, and its body does not contain {short(wanted.text, 80)!r}")
    leads = f", leads to {answer.location}" if answer.redirects else ""
    return good(f"{said}{leads}", status=answer.status)


def _said(status: int) -> str:
    with suppress(ValueError):
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    return f"HTTP {status}"


def _place(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:  # a port that is no number
        return url, None, None


class _Answer:
    """An answer while it arrives; httptools calls the `on_` methods."""

    def __init__(self) -> None:
        self.status = 0
        self.location = ""
        self.in_body = self.complete = False
        self._body = bytearray()
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"location":
            self.location = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.in_body = self.status >= HTTPStatus.OK  # 100 Continue and 103 Early Hints come before the answer

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self.complete = self.in_body

    @property
    def redirects(self) -> bool:
        return self.status in {301, 302, 303, 307, 308} and bool(self.location)

    @property
    def size(self) -> int:
        return len(self._body)

    @property
    def text(self) -> str:
        return self._body.decode("utf-8", errors="replace")

    def enough(self, wanted: Wanted) -> bool:
        """Whether what is still to come cannot change the verdict."""
        if self.complete or not self.in_body:
            return self.complete
        if self.size >= _MOST_BODY or self.redirects:
            return True
        if not wanted.fits(self.status):
            return self.size >= 4 * _EXCERPT
        return not wanted.text or wanted.text.encode() in self._body


async def _get(url: SplitResult, wanted: Wanted, headers: Mapping[str, str], any_certificate: bool) -> _Answer:
    host, port = _address(url)
    tls = {"ssl": trust(any_certificate), "server_hostname": host} if url.scheme == "https" else {}
    try:
        reader, writer = await connect(host, port, **tls)
    except ssl.SSLCertVerificationError as error:
        raise Bad(f"{host}:{port}: its certificate is not trusted: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise Bad(f"{host}:{port}: TLS does not come about: {error.reason or error}") from error
    except OSError as error:
        raise Bad(f"{host}:{port}: {reason(error)}") from error
    try:
        writer.write(_request(url, headers))
        return await _read(reader, wanted)
    except httptools.HttpParserError as error:
        raise Bad(f"{host}:{port}: what came is not HTTP") from error
    except OSError as error:
        raise Bad(f"{host}:{port}: {reason(error)}") from error
    finally:
        writer.transport.abort()  # no farewell that could be waited for


def _address(url: SplitResult) -> tuple[str, int]:
    try:
        host, port = url.hostname, url.port or _PORTS[url.scheme]
    except (KeyError, ValueError):
        host, port = None, 0
    if not host:
        raise Bad(f"{short(url.geturl(), 100)} is no address to ask: http or https, a host and a port")
    return host, port


def _request(url: SplitResult, headers: Mapping[str, str]) -> bytes:
    path = quote(f"{url.path or '/'}{f'?{url.query}' if url.query else ''}", safe=_SAFE)
    lines = {
        "Host": url.netloc.rpartition("@")[2],
        "User-Agent": "gaia-probe",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        **headers,
        "Connection": "close",
    }
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"GET {path} HTTP/1.1\r\n{text}\r\n".encode("latin-1", errors="replace")


async def _read(reader: asyncio.StreamReader, wanted: Wanted) -> _Answer:
    answer, received = _Answer(), 0
    while not answer.enough(wanted):
        data = await reader.read(65_536)
        if not data:
            break
        received += len(data)
        answer.feed(data)
        if not answer.in_body and received > _MOST_HEAD:
            raise Bad("its headers do not end")
    if not answer.in_body:
        raise Bad("the connection was closed without an answer")
    return answer


@functools.cache
def trust(any_certificate: bool) -> ssl.SSLContext:
    """Who is believed; made once, reading the system's authorities takes tens of milliseconds.

    Args:
        any_certificate: everybody.
    """
    context = ssl.create_default_context()
    if any_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

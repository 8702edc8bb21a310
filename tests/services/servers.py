"""Small servers in a thread of the test's own, each with a behaviour; whatever port they get is theirs."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

from common.run import run

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Servers:
    """Listens on 127.0.0.1 until `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def listen(self, talk: Talk, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> int:
        """Start one that does this with each connection. Returns: its port."""
        return asyncio.run_coroutine_threadsafe(self._listen(talk, tls, host), self._loop).result(10)

    async def _listen(self, talk: Talk, tls: ssl.SSLContext | None, host: str) -> int:
        async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await talk(reader, writer)
            except (ConnectionError, EOFError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(guarded, host, 0, ssl=tls)
        return int(server.sockets[0].getsockname()[1])

    def answer(self, text: str, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> int:
        """Start one that reads a request and answers with these lines, whatever was asked. Returns: its port."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(text.replace("\n", "\r\n").encode())
            await writer.drain()

        return self.listen(talk, tls=tls, host=host)

    def close(self) -> None:
        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def ok(body: str = "fine", status: str = "200 OK", **headers: str) -> str:
    """An answer with a body."""
    more = "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\nContent-Length: {len(body.encode())}\n{more}\n{body}"


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never says anything, until the other side has gone."""
    while await reader.read(1000):
        pass


def own_certificate(folder: Path) -> ssl.SSLContext:
    """TLS with a certificate that nobody has signed."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    run([*words, "-keyout", key, "-out", certificate, "-days", "2", *subject], timeout=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context

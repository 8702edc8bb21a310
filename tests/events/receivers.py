"""Receivers of notifications: a web server and a mail server, in threads of the test's own."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Got:
    """One request, or one mail."""

    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)

    @property
    def messages(self) -> list[str]:
        return [event["message"] for event in self.data["events"]]


@dataclass
class Receiver:
    """What came in; `answer` says with which status and text each is answered, `hang` holds answers back."""

    url: str = ""
    got: list[Got] = field(default_factory=list)
    answer: Callable[[int], tuple[int, str]] = lambda number: (200, "")
    headers: dict[str, str] = field(default_factory=dict)
    go_on: threading.Event = field(default_factory=threading.Event)
    hang: bool = False


@contextmanager
def web_receiver() -> Iterator[Receiver]:
    """A web server on loopback."""
    receiver = Receiver()

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.got.append(Got(dict(self.headers), body))
            if receiver.hang:
                receiver.go_on.wait(30)
            status, text = receiver.answer(len(receiver.got))
            self.send_response(status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), Door)) as port:
        receiver.url = f"http://127.0.0.1:{port}/hook"
        yield receiver
        receiver.go_on.set()


@contextmanager
def dripping() -> Iterator[str]:
    """A server that answers one byte every tenth of a second and never comes to an end; its address."""
    over = threading.Event()

    class Drip(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not over.wait(0.1):
                try:
                    self.request.sendall(b"x")
                except OSError:
                    return

    with _serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Drip)) as port:
        yield f"http://127.0.0.1:{port}/"
        over.set()


@dataclass
class Mailbox:
    """What was handed in: sender, recipients, message. `refuse`: an answer to each recipient instead."""

    url: str = ""
    mails: list[tuple[str, list[str], str]] = field(default_factory=list)
    signed_in: list[str] = field(default_factory=list)
    refuse: str = ""


@contextmanager
def mail_receiver() -> Iterator[Mailbox]:
    """A mail server on loopback that speaks as much of RFC 5321 as a client needs."""
    box = Mailbox()

    class Door(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            sender, recipients = "", list[str]()
            self.say("220 mail.test ready")
            while line := self.rfile.readline().decode().strip():
                verb = line[:4].upper()
                if verb == "EHLO":
                    self.say("250-mail.test\r\n250 AUTH PLAIN")
                elif verb == "AUTH":
                    box.signed_in.append(line.split()[-1])
                    self.say("235 welcome")
                elif verb == "MAIL":
                    sender = line.split(":", 1)[1]
                    self.say("250 ok")
                elif verb == "RCPT":
                    recipients.append(line.split(":", 1)[1])
                    self.say(box.refuse or "250 ok")
                elif verb == "DATA":
                    self.say("354 go on")
                    lines = []
                    while (part := self.rfile.readline().decode()) != ".\r\n":
                        lines.append(part)
                    box.mails.append((sender, recipients, "".join(lines)))
                    self.say("250 taken")
                elif verb == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 ok")

    with _serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Door)) as port:
        box.url = f"smtp://127.0.0.1:{port}?tls=none"
        yield box


@contextmanager
def _serving(server: socketserver.TCPServer) -> Iterator[int]:
    if isinstance(server, socketserver.ThreadingMixIn):
        server.daemon_threads = True
        server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""Read-only pictures without importing Django: asked of the running console over HTTP in a few milliseconds.

When the console does not answer, or no daemon looks, the same pictures come from the database (`show`), half a second
later. HTTP is spoken by hand: importing http.client would take longer than all the rest.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from common.home import gaia_home
from common.locks import lock_held
from gaia_site.cli import pictures

_PATHS = {
    "group-status": "/api/orchestration/sessions/groups/",
    "multi-env-status": "/api/multi-env/status",
}
_TIMEOUT_S = 2.0


def answer(words: list[str]) -> int | None:
    """Print the picture a command line asks for. Returns: the exit code, or None when this cannot answer it."""
    if not words or words[0] not in _PATHS or not set(words[1:]) <= {"--json"}:
        return None
    data = look(_PATHS[words[0]])
    if data is None:
        return None
    print(json.dumps(data) if "--json" in words else pictures.PICTURES[words[0]](data))
    return 0


def look(path: str) -> Any:
    """`fetch` from a console whose daemon runs; None without a daemon: what a console alone shows may be old."""
    return fetch(path) if daemon_runs() else None


def fetch(path: str) -> Any:
    """JSON from the running console, or None when it does not run, does not answer, or the token is no good."""
    found = endpoint()
    if found is None:
        return None
    host, _, port = found[0].removeprefix("http://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_S) as connection:
            who = f"Host: {host}:{port}\r\nAuthorization: Token {found[1]}"
            connection.sendall(f"GET {path} HTTP/1.0\r\n{who}\r\nAccept: application/json\r\n\r\n".encode())
            head, _, body = _all_of(connection).partition(b"\r\n\r\n")
        return json.loads(body) if head.split(maxsplit=2)[1:2] == [b"200"] else None
    except (OSError, ValueError):
        return None


def _all_of(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def endpoint() -> tuple[str, str] | None:
    """Local address and the CLI's own token, as `gaia up` left them in `run/cli.json` (0600)."""
    try:
        data = json.loads((gaia_home().run / "cli.json").read_text(encoding="utf-8"))
        return data["local_url"], data["token"]
    except (OSError, ValueError, KeyError):
        return None


def daemon_runs() -> bool:
    """Whether this home's daemon is alive."""
    return lock_held(gaia_home().run / "node.lock")

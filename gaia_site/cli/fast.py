"""Read-only pictures without importing Django: asked of the running console over HTTP in a few milliseconds.

When the console does not answer, the same pictures come from the database, half a second later (`show`).
"""

from __future__ import annotations

import http.client
import json
import sys
from typing import Any
from urllib.parse import urlsplit

from common.home import gaia_home
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
    data = fetch(_PATHS[words[0]])
    if data is None:
        return None
    if "--json" in words:
        print(json.dumps(data))
    else:
        print(pictures.PICTURES[words[0]](data))
    return 0


def fetch(path: str) -> Any:
    """JSON from the running console, or None when it does not run, does not answer, or the token is no good."""
    found = endpoint()
    if found is None:
        return None
    url, token = found
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"Authorization": f"Token {token}", "Accept": "application/json"})
        response = connection.getresponse()
        return json.loads(response.read()) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def endpoint() -> tuple[str, str] | None:
    """Local address and the CLI's own token, as `gaia up` left them in `run/cli.json` (0600)."""
    try:
        data = json.loads((gaia_home().run / "cli.json").read_text(encoding="utf-8"))
        return data["local_url"], data["token"]
    except (OSError, ValueError, KeyError):
        return None


def warn(text: str) -> None:
    """A line on stderr."""
    sys.stderr.write(text + "\n")

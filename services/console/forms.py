"""The form that takes a definition as JSON: the text it begins with, and what is wrong with what came back."""

from __future__ import annotations

import json
from typing import Any

from common.errors import InvalidInput
from services.actions.registry import definition_of
from services.models import Service
from services.spec import ServiceSpec, parse_spec

_LONGEST = 200_000
_EXAMPLE = """\
{
  "name": "api-server",
  "command": "go",
  "args": ["run", "./cmd/api"],
  "cwd": "/srv/api",
  "port": 8080,
  "health_check": {
    "type": "http",
    "endpoint": "http://localhost:8080/health",
    "interval": "30s",
    "timeout": "5s",
    "retries": 3
  },
  "auto_restart": true
}"""
FIELDS = (
    ("name", "letters, digits, - and _; needed"),
    ("command, args", "what runs, without a shell; needed"),
    ("cwd", "the directory it runs in; default the home directory"),
    ("env, secrets", 'variables; nobody is shown a secret again, and "NAME": null keeps the one there is'),
    ("port", "the port it listens on, free before each start"),
    ("health_check", 'one check: type http, tcp, exec or log; "30s" is a duration'),
    ("probes", "more of them, each with a purpose: startup, readiness, liveness"),
    ("limits", '{"memory": "512MB", "cpu": 50, "run_time": "1h", "quiet": "10m", "open_files": 1024}'),
    ("depends_on", '["db"], or {"db": "started"}: healthy, started, completed, log_line'),
    ("auto_restart, restart", "true or false; or always, on_failure, never"),
    ("stop_grace", 'how long it has to end by itself, such as "10s"'),
    ("user", "the account it runs as, where GAIA runs as root"),
    ("kind, mcp", '"mcp" for an MCP server, with {"transport": "http", "url": …}'),
)
"""Fields and what they are for, beside the form."""


def text_of(service: Service | None) -> str:
    """What the form begins with: the definition as it is, or an example."""
    return written(service) if service is not None else _EXAMPLE


def written(service: Service) -> str:
    """Its definition as JSON, secrets without their values."""
    return json.dumps(definition_of(service), indent=2, ensure_ascii=False)


def read(text: str) -> ServiceSpec:
    """The definition in a text. Raises: InvalidInput that says where, or in which field, and what to write."""
    return parse_spec(load(text))


def load(text: str) -> Any:
    """JSON that somebody wrote. Raises: InvalidInput with line and column."""
    if len(text) > _LONGEST:
        raise InvalidInput(f"the definition is longer than {_LONGEST} characters", fix="Register services one by one.")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        lines = text.splitlines() or [""]
        line = lines[min(error.lineno, len(lines)) - 1].strip()
        raise InvalidInput(
            f"this is no JSON: {error.msg[:1].lower()}{error.msg[1:]} at line {error.lineno}, column {error.colno}",
            meaning=f"There: {line[:120]}" if line else "The text ends too early.",
            fix='Names and texts stand in double quotes: {"name": "api-server", "command": "go"}.',
        ) from None
    except RecursionError:
        raise InvalidInput("this is no definition: it is nested too deeply") from None

"""Which database is in force, as Django wants to have it said."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from common.errors import InvalidInput
from common.home import Home
from common.redaction import mask_url

_SQLITE_PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-16000;"


def database_settings(url: str, home: Home) -> dict[str, Any]:
    """The `DATABASES["default"]` entry.

    Args:
        url: `postgresql://USER:PASSWORD@HOST:PORT/NAME?option=value`, or empty for SQLite in the home.
        home: where SQLite's file lies.

    Raises: InvalidInput when the URL is of another kind; `common.config` has refused such a one before.
    """
    if not url:
        return sqlite_settings(str(home.database))
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and parts.path.strip("/"):
        return sqlite_settings(unquote(parts.path))
    if parts.scheme not in {"postgres", "postgresql"} or not parts.path.strip("/"):
        raise InvalidInput(
            f"{mask_url(url)!r} is not the URL of a database GAIA can use",
            fix="Write postgresql://USER:PASSWORD@HOST:PORT/NAME, or leave it empty for SQLite.",
        )
    options = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        # a directory is a Unix socket; in a URL it comes as ?host=/path
        "HOST": options.pop("host", unquote(parts.hostname or "")),
        "PORT": str(parts.port or options.pop("port", "")),
        "CONN_MAX_AGE": 0,
        "OPTIONS": options,
    }


def sqlite_settings(name: str) -> dict[str, Any]:
    """SQLite as GAIA needs it: WAL and IMMEDIATE, without which a fifth of concurrent writes fail."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": name,
        "CONN_MAX_AGE": 0,
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": _SQLITE_PRAGMAS},
    }


def fingerprint(database: dict[str, Any]) -> str:
    """A digest by which two processes can tell whether they use the same database; it tells nothing else."""
    # Django adds those that are left out, as empty ones, when it first connects
    where = {key: str(database.get(key) or "") for key in ("ENGINE", "NAME", "USER", "HOST", "PORT")}
    return hashlib.sha256(json.dumps(where, sort_keys=True).encode()).hexdigest()

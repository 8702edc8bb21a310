"""Settings: `$GAIA_HOME/config.toml`, each key also as `GAIA_<SECTION>_<KEY>`, environment wins.

Mistakes never raise: they are collected as problems, the default stays in force, and Django's system
checks report each with a hint. Only the standard library is used, so that the CLI can read it in a millisecond.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from common.durations import parse_duration
from common.errors import InvalidInput
from common.home import Home, gaia_home
from common.mail import mail_server
from common.redaction import mask_url


@dataclass(frozen=True)
class Key:
    """One setting: its default, how text becomes its value, and what it is for."""

    section: str
    name: str
    default: Any
    parse: Callable[[Any], Any]
    doc: str

    @property
    def dotted(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        return f"GAIA_{self.section}_{self.name}".upper()


@dataclass(frozen=True)
class Problem:
    """A mistake in the settings: which key, what is wrong, what to do."""

    key: str
    message: str
    hint: str


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"expected text, got {value!r}")
    return value.strip()


def _host(value: Any) -> str:
    text = _text(value)
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", text):
        raise InvalidInput(
            f"{text!r} is not an address", fix="Write 127.0.0.1, or a host name or address of this machine."
        )
    return text


def _origin(value: Any) -> str:
    text = _text(value).rstrip("/")
    parts = _url_parts(text)
    if text and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.path or parts.query):
        raise InvalidInput(f"{text!r} is not an origin", fix="Write it like https://gaia.example.org, without a path.")
    return text


def _zone(value: Any) -> str:
    text = _text(value)
    if text != "UTC":
        from zoneinfo import ZoneInfo  # 6 ms that few need

        try:
            ZoneInfo(text)
        except (KeyError, ValueError, OSError):
            raise InvalidInput(f"there is no time zone {text!r}", fix="Write it like Europe/Berlin.") from None
    return text


def _database_url(value: Any) -> str:
    text = _text(value)
    if not text:
        return ""
    parts = _url_parts(text)
    if parts.scheme not in {"postgres", "postgresql", "sqlite"} or not parts.path.strip("/"):
        raise InvalidInput(
            f"{mask_url(text)!r} is not the URL of a database GAIA can use",
            fix="Write postgresql://USER:PASSWORD@HOST:PORT/NAME, or leave it empty for SQLite.",
        )
    return text


def _server_url(schemes: tuple[str, ...], example: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        text = _text(value)
        parts = _url_parts(text)
        host = parts.hostname or "host=" in parts.query
        if text and (parts.scheme not in schemes or not host or not text.isprintable()):
            raise InvalidInput(f"{mask_url(text)!r} is not the URL of such a server", fix=f"Write {example}.")
        return text

    return parse


_postgresql_url = _server_url(("postgres", "postgresql"), "postgresql://USER:PASSWORD@HOST:PORT")
_redis_url = _server_url(("redis", "rediss"), "redis://:PASSWORD@HOST:6379/0")
_vector_url = _server_url(("http", "https", "grpc"), "http://HOST:8090")


def _mail_url(value: Any) -> str:
    text = _text(value)
    if text:
        mail_server(text)
    return text


def _url_parts(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port  # judged when it is asked for
    except ValueError as error:
        raise InvalidInput(f"{mask_url(text)!r} is not a URL: {error}") from None
    return parts


def _port(value: Any) -> int:
    number = _whole(value)
    if not 1 <= number <= 65535:
        raise InvalidInput(f"{number} is not a port", fix="Ports are 1 to 65535.")
    return number


def _whole(value: Any) -> int:
    try:
        if isinstance(value, bool | float):
            raise ValueError
        return int(value)
    except (TypeError, ValueError):
        raise InvalidInput(f"expected a whole number, got {value!r}") from None


def _count(value: Any) -> int:
    number = _whole(value)
    if number < 1:
        raise InvalidInput(f"expected at least 1, got {number}")
    return number


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off", ""}:
        return False
    raise InvalidInput(f"expected true or false, got {value!r}")


KEYS: tuple[Key, ...] = (
    Key("server", "host", "127.0.0.1", _host, "Address the console listens on."),
    Key("server", "port", 8080, _port, "Port the console listens on."),
    Key("server", "public_url", "", _origin, "Origin people use when it is another, such as https://gaia.example.org."),
    Key("server", "debug", False, _bool, "Django's debug mode; never on a machine others reach."),
    Key("server", "time_zone", "UTC", _zone, "Time zone of the console."),
    Key("database", "url", "", _database_url, "postgresql://USER:PASSWORD@HOST:PORT/NAME; empty means SQLite."),
    Key("environments", "count", 5, _count, "How many environments `gaia env setup` makes."),
    Key("environments", "base_port", 8081, _port, "Port of the first dev stage; qa is 100 above it, staging 200."),
    Key("environments", "root", "", _text, "Where checkouts go; empty: beside a local source, else in the home."),
    Key("environments", "trash_days", 7, _count, "Days a removed checkout stays in the trash."),
    Key("environments", "git_timeout", 600.0, parse_duration, "Longest a clone or fetch may take."),
    Key("environments", "snapshots_kept", 20, _count, "Snapshots of each environment that stay, however old."),
    Key("environments", "snapshot_days", 30, _count, "Days that the other snapshots stay."),
    Key("environments", "weekly_sync_merges", False, _bool, "The weekly sync merges, too; off: it only fetches."),
    Key("layers", "postgresql_url", "", _postgresql_url, "PostgreSQL server for stages of layers, never production's."),
    Key("layers", "redis_url", "", _redis_url, "Redis for layers that need it, except production's."),
    Key("layers", "vector_url", "", _vector_url, "Vector store for layers that need it, except production's."),
    Key("sessions", "fleet", "", _text, "Fleet file; empty: fleet.yaml in the home, else the shipped fleet."),
    Key("sessions", "history_limit", 10000, _count, "Lines of scrollback tmux keeps per pane."),
    Key("sessions", "shell", "", _text, "Shell where no agent is installed; empty: $SHELL, else /bin/sh."),
    Key("sessions", "path", "", _text, "PATH to find agent CLIs on; empty: that of whoever ran `gaia up`."),
    Key("sessions", "socket_dirs", "", _text, "Directories with others' tmux sockets, ':' between; empty: tmux's own."),
    Key("sessions", "sockets", "", _text, "More tmux sockets of others to look at, ':' between them."),
    Key("jobs", "workers", 2, _count, "Workers of the job queue."),
    Key("jobs", "keep_days", 90, _count, "Days that what is over is kept in lists: operations, past sessions, …."),
    Key("mail", "url", "", _mail_url, "Mail server, smtp://USER:PASSWORD@HOST:587; empty: no mail is sent."),
    Key("mail", "sender", "gaia@localhost", _text, "Address that mail comes from."),
    Key("backups", "interval", 24, _count, "Hours after which a database is backed up again."),
    Key("backups", "keep_daily", 7, _count, "Days with a backup whose newest one is kept."),
    Key("backups", "keep_weekly", 4, _count, "Weeks with a backup whose newest one is kept."),
    Key("backups", "keep_monthly", 3, _count, "Months with a backup whose newest one is kept."),
    Key("backups", "timeout", 3600.0, parse_duration, "Longest that copying, packing or verifying one may take."),
    Key("processes", "stop_grace", 10.0, parse_duration, "How long a process may take to end after TERM before KILL."),
    Key("processes", "cgroup", "", _text, "Cgroup (version 2) GAIA may divide; empty: the one systemd delegated."),
    Key("processes", "log_mb", 20, _count, "Megabytes a log may hold before its older half is archived."),
    Key("processes", "log_archives", 4, _count, "Archives kept of each log, compressed."),
    Key("processes", "log_days", 30, _count, "Days the logs of operations that have ended are kept."),
    Key("health", "interval", 5, _count, "Minutes between two looks at the environments; later in the console's jobs."),
    Key("health", "confirmations", 2, _count, "Looks in a row that must see what may pass before it counts."),
    Key("health", "behind", 50, _count, "Commits an environment may be behind before that is a warning."),
    Key("health", "uncommitted_days", 7, _count, "Days uncommitted work may lie around before it is mentioned."),
    Key("health", "disk_warning_mb", 2048, _count, "Megabytes that must be free on a disk, or there is a warning."),
    Key("health", "disk_failed_mb", 256, _count, "Megabytes that must be free on a disk, or it counts as full."),
    Key("health", "database_mb", 512, _count, "Megabytes of the largest database that is looked through for damage."),
    Key("health", "growth_mb", 1024, _count, "Megabytes a database may grow within a day before that is a warning."),
    Key("health", "backup_days", 2, _count, "Days the last verified backup of a database may be old."),
    Key("health", "history_days", 90, _count, "Days that periods of health which are over are kept."),
)  # fmt: skip

_BY_DOTTED = {key.dotted: key for key in KEYS}
_VARIABLES = {key.variable for key in KEYS}
_PREFIXES = tuple({f"GAIA_{key.section}_".upper() for key in KEYS})


@dataclass(frozen=True)
class Config:
    """The settings in force, where each came from, and what was wrong."""

    home: Home
    values: Mapping[str, Any]
    origins: Mapping[str, str]
    problems: tuple[Problem, ...] = field(default=())

    def __getitem__(self, dotted: str) -> Any:
        return self.values[dotted]

    @property
    def url(self) -> str:
        """Where the console is reached, without a trailing slash."""
        public = str(self["server.public_url"]).rstrip("/")
        return public or f"http://{self['server.host']}:{self['server.port']}"


def load(home: Home | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the settings.

    Args:
        home: the GAIA home; default the one in force.
        environ: environment variables; default the process's own.

    Returns: a Config; mistakes are in its `problems`.
    """
    home = home or gaia_home()
    environ = os.environ if environ is None else environ
    problems: list[Problem] = []
    file_values = _read_file(home.config_file, problems)
    _check_variables(environ, problems)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key in KEYS:
        values[key.dotted], origins[key.dotted] = key.default, "default"
        candidates = [(str(home.config_file), file_values.get(key.dotted)), (key.variable, environ.get(key.variable))]
        for origin, raw in candidates:
            if raw is None:
                continue
            try:
                values[key.dotted], origins[key.dotted] = key.parse(raw), origin
            except InvalidInput as error:
                hint = error.fix or f"{key.doc} Default: {key.default!r}."
                place = f"{origin}: {key.dotted}" if origin != key.variable else origin
                problems.append(Problem(key.dotted, f"{place}: {error.what}", hint))
    return Config(home, values, origins, tuple(problems))


def _read_file(path: Path, problems: list[Problem]) -> dict[str, Any]:
    try:
        parsed = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(
            Problem("config.toml", f"{path} cannot be read: {error}", "Mend the file; defaults are in force.")
        )
        return {}
    flat: dict[str, Any] = {}
    for section, body in parsed.items():
        if not isinstance(body, dict):
            problems.append(
                Problem(section, f"{path}: {section} stands outside a [section]", f"Put it under one of {_sections()}.")
            )
            continue
        for name, value in body.items():
            dotted = f"{section}.{name}"
            if dotted not in _BY_DOTTED:
                close = difflib.get_close_matches(dotted, _BY_DOTTED, n=1)
                hint = f"Did you mean {close[0]}?" if close else "`gaia config` lists every key."
                problems.append(Problem(dotted, f"{path}: there is no setting {dotted}", hint))
                continue
            flat[dotted] = value
    return flat


def _check_variables(environ: Mapping[str, str], problems: list[Problem]) -> None:
    """A variable that looks like a setting and is none is a slip; others that begin with GAIA_ are not settings."""
    for name in sorted(environ):
        if name.startswith(_PREFIXES) and name not in _VARIABLES:
            close = difflib.get_close_matches(name, _VARIABLES, n=1)
            hint = f"Did you mean {close[0]}?" if close else "`gaia config` lists every key."
            problems.append(Problem(name, f"there is no setting {name}", hint))


def _sections() -> str:
    return ", ".join(f"[{name}]" for name in dict.fromkeys(key.section for key in KEYS))

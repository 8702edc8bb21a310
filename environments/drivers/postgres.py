"""Databases of stages on a layer's PostgreSQL server: their URLs, making one, whether one answers.

A database belongs to whoever's mark its comment bears, so that two GAIAs on one server never share one.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from common.errors import Conflict, GaiaError, InvalidInput, NotFound, Refused, Unavailable
from common.redaction import mask_url
from environments.drivers.backup_postgres import Server

LONGEST_NAME = 63
"""Characters of a PostgreSQL name; the server would cut what is longer."""
_MAINTENANCE = "postgres"
_TELLING = 8  # characters of a password that nobody has by chance
_ANSWER_S = 3  # a look at the health of environments ends each check after ten
_SCHEMES = {"postgres", "postgresql"}


def check_url(url: str) -> str:
    """The URL of a server in its usual form, without anything behind its path's first part.

    Raises: InvalidInput for what is none.
    """
    text = url.strip()
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise InvalidInput(f"{mask_url(text)!r} is not a URL: {error}") from None
    query = dict(parse_qsl(parts.query))
    if parts.scheme not in _SCHEMES or not (parts.hostname or query.get("host")) or not text.isprintable():
        raise InvalidInput(
            f"{mask_url(text)!r} is not the URL of a PostgreSQL server",
            fix="Write postgresql://USER:PASSWORD@HOST:PORT, the account one that may make databases.",
        )
    return urlunsplit(("postgresql", parts.netloc, parts.path.rstrip("/"), parts.query, ""))


def server_of(url: str) -> Server:
    """Where a URL leads; without a path to the database that every server has."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    return Server(
        name=unquote(parts.path.lstrip("/")) or _MAINTENANCE,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        host=options.pop("host", unquote(parts.hostname or "")),
        port=str(parts.port or options.pop("port", "")),
        options=options,
    )


def url_of(url: str, name: str) -> str:
    """The URL of one database on that server."""
    parts = urlsplit(url)
    return urlunsplit(("postgresql", parts.netloc, f"/{quote(name, safe='')}", parts.query, ""))


def same_server(one: str, other: str) -> bool:
    """Whether two URLs lead to the same server, as far as their names tell: every name of this machine is one."""
    return _place(server_of(one)) == _place(server_of(other))


def same_account(one: str, other: str) -> bool:
    """Whether two URLs lead to the same server under the same account."""
    return same_server(one, other) and server_of(one).user == server_of(other).user


def _place(server: Server) -> tuple[str, str]:
    host = server.host.lower().rstrip(".")
    try:
        here = ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        here = host in {"", "localhost", "localhost.localdomain"}
    return ("localhost" if here else host), server.port or "5432"


def make_database(url: str, name: str, mark: str) -> bool:
    """Make a database that only its account may enter, unless it is there; killed in between, it is to be called again.

    Args:
        url: of the server.
        mark: whose it is; it stays as the database's comment.

    Returns: whether it was made.
    Raises: Unavailable when the server does not answer; Refused when the account may make none; Conflict when there is
    one of that name which is somebody else's.
    """
    server = server_of(url)
    with server.connected() as connection:
        made = False
        if not _exists(connection, name):
            _create(connection, name, server)
            made = True
        theirs = _comment(connection, name)
        if theirs == mark:
            return made
        if theirs or not (made or _is_empty(server, name)):
            raise Conflict(
                f"there is a database {name} on the server of {server.user or 'its account'} that GAIA did not make",
                meaning="What is in there is somebody else's, so it was not touched.",
                fix=f"Look who uses it, then rename it: ALTER DATABASE {name} RENAME TO …;",
            )
        database = sql.Identifier(name)
        connection.execute(sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(database))
        connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, sql.Literal(mark)))
    return made


def _exists(connection: psycopg.Connection[tuple[str]], name: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


def _create(connection: psycopg.Connection[tuple[str]], name: str, server: Server) -> None:
    try:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'")
        connection.execute(statement.format(sql.Identifier(name)))
    except psycopg.errors.DuplicateDatabase:
        pass  # somebody was faster: whose it is, its comment says
    except psycopg.errors.InsufficientPrivilege as error:
        who = server.user or "its account"
        raise Refused(
            f"the account {who} may not make databases on the PostgreSQL server",
            meaning="Each stage gets a database of its own there.",
            fix=f'Let somebody who may type in psql: ALTER ROLE "{who}" CREATEDB;',
        ) from error


def _comment(connection: psycopg.Connection[tuple[str]], name: str) -> str:
    asked = "SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = %s"
    row = connection.execute(asked, [name]).fetchone()
    return row[0] if row else ""


def _is_empty(server: Server, name: str) -> bool:
    """Whether there is no table in it: one that was made a moment ago, by a run that was killed before its comment."""
    with server.connected(name) as connection:
        asked = "SELECT 1 FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') LIMIT 1"
        return connection.execute(asked).fetchone() is None


def check_database(url: str) -> None:
    """Raise NotFound when there is no such database on the server, Unavailable when that does not answer in time."""
    server = server_of(url)
    maintenance = server if server.name == _MAINTENANCE else replace(server, name=_MAINTENANCE)
    try:
        with psycopg.connect(
            maintenance.conninfo(), password=server.password or None, autocommit=True, connect_timeout=_ANSWER_S
        ) as connection:
            there = _exists(connection, server.name)
    except psycopg.OperationalError as error:
        said = mask_url(str(error).strip().splitlines()[-1]) if str(error).strip() else "no answer"
        raise Unavailable(
            f"the PostgreSQL server at {server.host or 'its socket'} does not answer: {said}",
            meaning="Stages there cannot reach their data.",
            fix=shlex.join(["pg_isready", "--host", server.host or "localhost", "--port", server.port or "5432"]),
        ) from error
    if not there:
        raise NotFound(f"there is no database {server.name}", name=server.name)


def may_read_as(url: str, other: str) -> bool:
    """Whether the account of one URL has the rights of another account on the same server.

    Raises: Unavailable when the server does not answer.
    """
    with server_of(url).connected() as connection:
        asked = (
            "SELECT rolsuper OR coalesce((SELECT pg_has_role(current_user, oid, 'MEMBER') FROM pg_roles "
            "WHERE rolname = %s), false) FROM pg_roles WHERE rolname = current_user"
        )
        row = connection.execute(asked, [server_of(other).user]).fetchone()
        return bool(row and row[0])


def leading_to(urls: Iterable[str], env: Mapping[str, str]) -> list[str]:
    """Names of variables that hold one of these servers' accounts, or its password."""
    found = []
    for url in urls:
        server = server_of(url)
        found += [name for name, value in env.items() if _leads_to(value, url, server.password)]
    return sorted(set(found))


def _leads_to(value: str, url: str, password: str) -> bool:
    if len(password) >= _TELLING and password in value:
        return True
    with suppress(GaiaError):
        return "://" in value and same_account(check_url(value), url)
    return False

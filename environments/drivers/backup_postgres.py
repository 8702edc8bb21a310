"""Backups of a PostgreSQL database by `pg_dump`, verified by `pg_restore` into a scratch database where that may be."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from common.errors import GaiaError, Refused, Unavailable
from common.run import CommandFailed, CommandMissing, CommandTimedOut, run
from environments.drivers.backup_files import Facts, publish, require_same, unfinished
from environments.drivers.databases import Watch, damaged, too_long

_SCRATCH = "gaia_verify_"
_STAMP = "%Y%m%d%H%M%S"
_FORGOTTEN = timedelta(days=1)  # a scratch database of that age is of a verification that was killed
_VERSION = re.compile(r"\b(\d+)(?:\.\d+|devel|beta\d*|rc\d*)?")
_CONNECT_S = 10
_PACKAGE = "Install PostgreSQL's client programs of that version or newer; on Debian: apt-get install postgresql-client"


@dataclass(frozen=True)
class Server:
    """Where a PostgreSQL database is, as Django's settings have it.

    Args:
        name: of the database.
        options: further parameters of libpq.
    """

    name: str
    user: str = ""
    password: str = ""
    host: str = ""
    port: str = ""
    options: Mapping[str, Any] | None = None

    def conninfo(self, name: str | None = None) -> str:
        """How its programs are told where it is; never with the password, which other people see in `ps`."""
        given = {"dbname": name or self.name, "user": self.user, "host": self.host, "port": self.port}
        options = {key: value for key, value in (self.options or {}).items() if isinstance(value, str | int)}
        unsaid = {"password", "sslpassword"}
        parameters = {**options, **given, "connect_timeout": _CONNECT_S}
        known = {key: value for key, value in parameters.items() if value not in ("", None) and key not in unsaid}
        try:
            return make_conninfo("", **known)
        except psycopg.ProgrammingError:  # options that are Django's, not libpq's
            return make_conninfo("", **{key: value for key, value in known.items() if key not in options})

    def environment(self) -> dict[str, str]:
        """What its programs run with."""
        return {**os.environ, **({"PGPASSWORD": self.password} if self.password else {})}

    @contextmanager
    def connected(self, name: str | None = None) -> Iterator[psycopg.Connection[Any]]:
        """A connection that commits by itself. Raises: Unavailable."""
        try:
            with psycopg.connect(self.conninfo(name), password=self.password or None, autocommit=True) as connection:
                yield connection
        except psycopg.OperationalError as error:
            raise Unavailable(
                f"the database {self.name} does not answer: {str(error).strip()}", fix="Is its server up?"
            ) from error


def take_postgres(
    server: Server, directory: Path, facts: Facts, *, timeout: float, watch: Watch | None = None
) -> tuple[Facts, Path]:
    """Dump a database and restore the dump into a scratch database; without the right to make one, read it through.

    Args:
        facts: what is known beforehand.
        timeout: seconds for each of the two.

    Returns: all facts, and the file.
    Raises: Unavailable for a program that is missing or too old, a server that does not answer; DatabaseDamaged.
    """
    _require_program("pg_dump", server)
    file = facts.file_in(directory)
    with unfinished(directory, facts.name) as place:
        dump = place("packed")
        dump.touch(mode=0o600)
        _tell(watch, 0.1)
        _program("pg_dump", ["--format=custom", "--no-password", f"--file={dump}", server.conninfo()], server, timeout)
        _tell(watch, 0.6)
        tables, check = verify_dump(dump, server, timeout=timeout)
        with open(dump, "rb") as written:
            os.fsync(written.fileno())
            sha256 = hashlib.file_digest(written, "sha256").hexdigest()
        with server.connected() as connection:
            [unpacked] = connection.execute("SELECT pg_database_size(current_database())").fetchone() or [0]
        whole = replace(
            facts, size=dump.stat().st_size, unpacked=unpacked, sha256=sha256, tables=tables, orphans=None, check=check
        )
        _tell(watch, 0.95)
        publish(dump, file, whole, directory)
    return whole, file


def verify_postgres(file: Path, server: Server, facts: Facts, *, timeout: float) -> str:
    """Restore a dump once more. Returns: how it was verified. Raises: as `take_postgres`, and NotFound."""
    require_same(file, facts.sha256)
    return verify_dump(file, server, timeout=timeout)[1]


def verify_dump(dump: Path, server: Server, *, timeout: float) -> tuple[dict[str, int] | None, str]:
    """Returns: rows by table where they could be counted, and how it was verified. Raises: DatabaseDamaged."""
    _require_program("pg_restore", server)
    try:
        _program("pg_restore", ["--list", str(dump)], server, timeout)
        with _scratch(server) as scratch:
            if scratch is None:
                _program("pg_restore", [f"--file={os.devnull}", str(dump)], server, timeout)
                return None, "pg_restore read it through: this account may not make a scratch database"
            target = f"--dbname={server.conninfo(scratch)}"
            words = ["--no-password", "--exit-on-error", "--no-owner", "--no-privileges", target, str(dump)]
            _program("pg_restore", words, server, timeout)
            with server.connected(scratch) as connection:
                return _count(connection), "pg_restore into a scratch database"
    except CommandFailed as error:
        raise damaged(dump, error.meaning.strip().splitlines()[-1] if error.meaning.strip() else error.what) from error


@contextmanager
def _scratch(server: Server) -> Iterator[str | None]:
    """A database that is dropped again; None when the account may not make any."""
    name = f"{_SCRATCH}{datetime.now(UTC).strftime(_STAMP)}_{os.getpid()}"
    with server.connected() as connection:
        _drop_forgotten(connection)
        try:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege:
            yield None
            return
        try:
            yield name
        finally:
            _drop(connection, name)


def _drop_forgotten(connection: psycopg.Connection[Any]) -> None:
    for (name,) in connection.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{_SCRATCH}%"]):
        with suppress(ValueError):
            made = datetime.strptime(name.removeprefix(_SCRATCH).split("_")[0], _STAMP).replace(tzinfo=UTC)
            if datetime.now(UTC) - made > _FORGOTTEN:
                _drop(connection, name)


def _drop(connection: psycopg.Connection[Any], name: str) -> None:
    with suppress(psycopg.Error):
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))


def _count(connection: psycopg.Connection[Any]) -> dict[str, int]:
    named = connection.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') "
        "ORDER BY 1, 2"
    ).fetchall()
    found = {}
    for schema, table in named:
        counted = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))
        [rows] = connection.execute(counted).fetchone() or [0]
        found[table if schema == "public" else f"{schema}.{table}"] = int(rows)
    return found


def _require_program(program: str, server: Server) -> None:
    """Raise Unavailable when it is not installed, or knows less than the server."""
    try:
        said = run([program, "--version"], timeout=_CONNECT_S, env=server.environment()).stdout
    except CommandMissing as error:
        raise Unavailable(
            f"{program} is not installed",
            meaning="A PostgreSQL database is backed up with PostgreSQL's own programs.",
            fix=f"{_PACKAGE}.",
        ) from error
    found = _VERSION.search(said.partition(")")[2])
    version = int(found[1]) if found else 0
    with server.connected() as connection:
        serves = connection.info.server_version // 10_000
    if version < serves:
        raise Unavailable(
            f"{program} {version} is older than the server, which is PostgreSQL {serves}",
            meaning="An older one cannot read it, so no backup was taken.",
            fix=f"{_PACKAGE}-{serves}.",
        )


def _program(program: str, words: list[str], server: Server, timeout: float) -> None:
    try:
        run([program, *words], timeout=timeout, env=server.environment())
    except CommandTimedOut as error:
        raise too_long(program, timeout) from error
    except CommandFailed as error:
        raise _explained(program, error) or error from error


def _explained(program: str, error: CommandFailed) -> GaiaError | None:
    """pg_dump's failures that are not about the dump itself."""
    text = error.meaning
    last = text.strip().splitlines()[-1] if text.strip() else error.what
    if "permission denied" in text:
        return Refused(f"{program}: {last}", fix="Give GAIA's account the right to read all of its database.")
    if program == "pg_dump" or "could not connect" in text or "No space left" in text:
        return Unavailable(f"{program}: {last}", meaning=text, fix="Is the server up, and is there room on the disk?")
    return None


def _tell(watch: Watch | None, fraction: float) -> None:
    if watch is not None:
        watch(fraction)

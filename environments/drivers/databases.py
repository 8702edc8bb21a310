"""SQLite databases as files: where a stage's lies, whether it is whole, what is in it, who has it open."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.containment import stays_inside
from common.errors import Conflict, GaiaError, NotFound, Refused, Unavailable
from environments.drivers.launching import require_inside
from environments.drivers.stage_env import read_assignments

Watch = Callable[[float], None]
"""Told how far something is, from 0 to 1; what it raises ends it."""

TRACES = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database."""

BUSY_S = 5.0
"""Seconds to wait for others' locks."""
_LOOK_EVERY = 20_000  # of SQLite's virtual machine's steps
_SHOWN_PROBLEMS = 5
_TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
    "AND sql NOT LIKE 'create virtual%' ORDER BY name"
)


class DatabaseDamaged(Conflict):
    """What lies there is no whole SQLite database."""

    code = "database_damaged"


class DatabaseInUse(Conflict):
    """Somebody has it open, or has locked it."""

    code = "database_in_use"


@dataclass(frozen=True)
class Contents:
    """What is in a database that is whole.

    Args:
        tables: rows by table, without what belongs to SQLite itself.
        orphans: rows that refer to rows there are not; None when its foreign keys could not be followed.
        check: what was asked of SQLite: `integrity_check`, or less where the schema needs what only its program has.
    """

    tables: Mapping[str, int]
    orphans: int | None = 0
    check: str = "integrity_check"


def stage_database(path: Path, stage: str, name: str) -> Path:
    """Where a stage's database lies, all symlinks followed; it need not exist.

    Args:
        path: the checkout.
        name: where it is meant to lie; GAIA's own place is taken where the repository had that name before.

    Raises: Conflict when it leads out of the checkout.
    """
    env, otherwise = f".gaia/stages/{stage}.env", f".gaia/data/{stage}/{Path(name).name}"
    chosen = name
    if stays_inside(path, env):
        with suppress(OSError, ValueError, KeyError):
            chosen = otherwise if read_assignments(path / env)["DATABASE_PATH"] == otherwise else name
    require_inside(path, chosen, *(f"{chosen}{trace}" for trace in TRACES))
    return (path / chosen).resolve()


@contextmanager
def opened(file: Path, *, timeout: float = BUSY_S, alone: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection to a database that exists; SQLite's own errors come out as GAIA's.

    Args:
        timeout: seconds to wait for others' locks.
        alone: nobody else knows of it, and it is only read: SQLite then puts no files of its own beside it.

    Raises: NotFound, DatabaseDamaged, DatabaseInUse, Refused, Unavailable.
    """
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # a pipe would be waited for
            raise DatabaseDamaged(f"{file} is no file", fix="Move it away.")
    except FileNotFoundError as error:
        raise NotFound(f"there is no database {file}", path=str(file)) from error
    try:
        how = "mode=ro&immutable=1" if alone else "mode=rw"
        with closing(sqlite3.connect(f"{file.as_uri()}?{how}", uri=True, timeout=timeout)) as connection:
            connection.isolation_level = None  # transactions are begun and ended here, not by the module
            yield connection
    except sqlite3.Error as error:
        raise foreseen(error, file) from error


def foreseen(error: sqlite3.Error, file: Path) -> GaiaError:
    """An error of SQLite as one for people."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    text = str(error)
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} or "malformed" in text or "not a database" in text:
        return damaged(file, text)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return in_use(file)
    if code == sqlite3.SQLITE_READONLY:
        return Refused(f"{file} may not be written", fix="Give your user the right to write there.", path=str(file))
    return Unavailable(
        f"{file}: {text}",
        meaning="SQLite could not read or write it.",
        fix="Is the disk full, or failing? Make room and run this again.",
        path=str(file),
    )


def damaged(file: Path, why: str) -> DatabaseDamaged:
    """The error for a database that is not whole."""
    return DatabaseDamaged(
        f"the database {file.name} is damaged: {why}",
        meaning=f"{file} cannot be relied upon.",
        fix="Have it salvaged and made again: gaia env repair-database; gaia backup restore gaia for GAIA's own.",
        path=str(file),
    )


def in_use(file: Path) -> DatabaseInUse:
    """The error for a database that somebody works in."""
    who = ", ".join(f"{name} (pid {pid})" for pid, name in holders(file))
    return DatabaseInUse(
        f"the database {file.name} is in use by {who or 'another process'}",
        meaning="What it writes would be lost, so nothing was done.",
        fix="End what uses it and run this again.",
        path=str(file),
    )


def holders(file: Path) -> list[tuple[int, str]]:
    """Other processes that have a database or its traces open, as far as we may know: pid and name."""
    import psutil  # few ask

    mine = {str(file), *(f"{file}{trace}" for trace in TRACES)}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and any(each.path in mine for each in process.open_files()):
                found.append((process.pid, process.name()))
    return found


def examine(file: Path, *, timeout: float, watch: Watch | None = None, alone: bool = False) -> Contents:
    """Have SQLite read all of a database and look for damage, and count its rows.

    Args:
        timeout: seconds.
        alone: as for `opened`.

    Raises: DatabaseDamaged with what SQLite says; Unavailable when it took too long; as `opened`.
    """
    with opened(file, alone=alone) as connection, _watched(connection, file, timeout, watch):
        check = _check(connection, file)
        _tell(watch, 0.7)
        return Contents(count_rows(connection), _orphans(connection), check)


def count_rows(connection: sqlite3.Connection) -> dict[str, int]:
    """Rows by table, in order of their names."""
    rows = (connection.execute(f"SELECT count(*) FROM {quoted(name)}") for name in table_names(connection))  # noqa: S608
    return dict(zip(table_names(connection), (row.fetchone()[0] for row in rows), strict=True))


def table_names(connection: sqlite3.Connection) -> list[str]:
    """Its ordinary tables: neither SQLite's own nor those that are made up by a module."""
    return [str(name) for (name,) in connection.execute(_TABLES)]


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def look(file: Path, *, patience: float = 2.0) -> dict[str, Any]:
    """What a preview shows of a database: `{exists, size, modified, tables, problem}`; never fails.

    Args:
        patience: seconds; `tables` is None when counting takes longer, or the database is damaged.
    """
    told: dict[str, Any] = {"exists": False, "size": 0, "modified": None, "tables": None, "problem": ""}
    try:
        facts = os.stat(file)
        told |= {"exists": True, "size": facts.st_size, "modified": facts.st_mtime}
        with opened(file, timeout=patience) as connection, _watched(connection, file, patience, None):
            told["tables"] = count_rows(connection)
    except (NotFound, FileNotFoundError):
        pass
    except (GaiaError, OSError) as error:
        slow = isinstance(error, TookTooLong)
        told["problem"] = "" if slow else error.what if isinstance(error, GaiaError) else str(error.strerror)
    return told


class TookTooLong(Unavailable):
    """It was given up after its time."""

    code = "took_too_long"


def too_long(what: str, timeout: float) -> TookTooLong:
    """The error for work that was given up."""
    return TookTooLong(
        f"{what} was not finished within {timeout:g} s", fix="Raise backups.timeout, or try when less is going on."
    )


@contextmanager
def _watched(connection: sqlite3.Connection, file: Path, timeout: float, watch: Watch | None) -> Iterator[None]:
    """Let the time run out, and let whoever watches end it, while SQLite is at work."""
    deadline = time.monotonic() + timeout
    raised: list[BaseException] = []

    def look_up() -> int:
        try:
            _tell(watch, 0.3)
        except BaseException as error:
            raised.append(error)
        return 1 if raised or time.monotonic() > deadline else 0

    connection.set_progress_handler(look_up, _LOOK_EVERY)
    try:
        yield
    except sqlite3.OperationalError:
        if raised:
            raise raised[0] from None
        if time.monotonic() > deadline:
            raise too_long(f"looking into {file.name}", timeout) from None
        raise
    finally:
        connection.set_progress_handler(None, 0)


def _tell(watch: Watch | None, fraction: float) -> None:
    if watch is not None:
        watch(fraction)


def _check(connection: sqlite3.Connection, file: Path) -> str:
    """The strictest check that works: an index may need a collation, a constraint a function, that only the program
    whose database it is knows. Returns: its name."""
    for check in ("integrity_check", "quick_check"):
        try:
            said = [str(line) for (line,) in connection.execute(f"PRAGMA {check}({_SHOWN_PROBLEMS})")]
        except sqlite3.OperationalError as error:
            if not _is_unknown(str(error)):
                raise
            connection.execute("PRAGMA ignore_check_constraints = ON")
            continue
        unknown = [line for line in said if _is_unknown(line)]
        if said == ["ok"]:
            return check
        if len(unknown) < len(said):
            raise damaged(file, "; ".join(said))
        connection.execute("PRAGMA ignore_check_constraints = ON")
    return "every page read"


def _is_unknown(text: str) -> bool:
    """Whether SQLite misses a collation, function or module, and nothing else."""
    return "no such" in text or "unknown function" in text


def _orphans(connection: sqlite3.Connection) -> int | None:
    try:
        return int(connection.execute("SELECT count(*) FROM pragma_foreign_key_check").fetchone()[0])
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            raise
        return None  # a key that refers to a table or column there is not: the program's own affair

"""Putting a database in the place of another one, and saving what can be saved of a damaged one."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import GaiaError, NotFound
from common.run import CommandError, run
from environments.drivers.backup_files import sync_directory
from environments.drivers.databases import (
    TRACES,
    DatabaseDamaged,
    foreseen,
    holders,
    in_use,
    opened,
    quoted,
    table_names,
)
from environments.drivers.partial import cannot_write
from environments.drivers.writing import UNFINISHED

_QUICK_S = 2.0
_SHOWN_PROBLEMS = 20
_RECOVER = 'sqlite3 -batch -init /dev/null -readonly "$1" .recover >"$2"'


@dataclass(frozen=True)
class Recovered:
    """What of a damaged database could be read.

    Args:
        how: by SQLite's own `.recover`, or table by table.
        tables: rows that were read, by table.
        problems: what could not be read, and why.
    """

    how: str
    tables: dict[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def place_for(file: Path) -> Path:
    """Where the new database is made ready: beside the old one, so that a rename puts it in its place."""
    return file.with_name(f".{file.name}.restored{UNFINISHED}")


def clear_place(file: Path) -> None:
    """Remove what an interrupted restoring has left there."""
    place = place_for(file)
    for name in (place, *(Path(f"{place}{trace}") for trace in TRACES)):
        name.unlink(missing_ok=True)


@contextmanager
def kept_from_writing(file: Path) -> Iterator[None]:
    """Let nobody write to a database while the block lasts; reading goes on. Where there is no whole one, do nothing.

    Raises: DatabaseInUse when somebody is writing; Refused, Unavailable when it may not be locked.
    """
    with ExitStack() as held:
        with suppress(NotFound, DatabaseDamaged):
            connection = held.enter_context(opened(file, timeout=_QUICK_S))
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                held.close()
                raise foreseen(error, file) from error
        yield


def put_in_place(new: Path, file: Path) -> None:
    """Replace a database, or make it where there is none; killed at any moment, the old or the new one is there.

    SQLite would take an old log of writes for one of the new database. So the old one is first brought to a state in
    which it has none, whole by itself; that also shows that nobody else has it open. Then it is renamed over.

    Args:
        new: a whole database on the same file system, closed and on disk.

    Raises: DatabaseInUse; Refused, Unavailable when it cannot be written.
    """
    try:
        mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else 0o600
        os.chmod(new, mode)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            _replace_whole(new, file) if file.exists() else _replace_remains(new, file)
        except DatabaseDamaged:
            _replace_remains(new, file)
        sync_directory(file.parent)
    except OSError as error:
        raise cannot_write(file.parent, error) from error


def _replace_whole(new: Path, file: Path) -> None:
    with opened(file, timeout=_QUICK_S) as old:
        was_wal = old.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        mode = old.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
        if mode == "wal":
            raise in_use(file)
        try:
            old.execute("BEGIN EXCLUSIVE")  # what a killed writer left half done is rolled back here
            _remove_traces(file)  # a journal that was finished, and whose end was not written down
            os.replace(new, file)
        except BaseException:
            if old.in_transaction:
                old.execute("ROLLBACK")
            if was_wal:
                with suppress(sqlite3.Error):
                    old.execute("PRAGMA journal_mode = WAL")
            raise
        old.execute("ROLLBACK")


def _replace_remains(new: Path, file: Path) -> None:
    """What lies there is no database; what belongs to it was salvaged before."""
    if holders(file):
        raise in_use(file)
    _remove_traces(file)
    os.replace(new, file)


def _remove_traces(file: Path) -> None:
    for trace in TRACES:
        Path(f"{file}{trace}").unlink(missing_ok=True)


def copy_closed(source: Path, target: Path) -> None:
    """Copy a database that nobody has open; it is on disk when this returns. Raises: Refused, Unavailable."""
    try:
        shutil.copyfile(source, target)
        target.chmod(0o600)
        with open(target, "rb") as written:
            os.fsync(written.fileno())
    except OSError as error:
        raise cannot_write(target.parent, error) from error


def make_empty(file: Path) -> None:
    """Make an empty database in WAL mode, as every stage begins with."""
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("VACUUM")
    with open(file, "rb") as made:
        os.fsync(made.fileno())


def salvage_raw(file: Path, directory: Path) -> tuple[Path, ...]:
    """Copy a database's file with its log of writes as they are, damaged or not.

    Args:
        directory: is made, for nobody else to read.

    Returns: the copies, which are on disk.
    Raises: Refused, Unavailable when they cannot be written.
    """
    copies = []
    try:
        directory.mkdir(parents=True, mode=0o700)
        for name in (file, *(Path(f"{file}{trace}") for trace in TRACES)):
            if not name.is_file():
                continue
            copy_closed(name, directory / name.name)
            copies.append(directory / name.name)
        sync_directory(directory)
    except OSError as error:
        raise cannot_write(directory, error) from error
    return tuple(copies)


def recover(raw: Path, target: Path, *, timeout: float) -> Recovered:
    """Read what can be read of a damaged database into a new one.

    Args:
        raw: the salvaged file; a copy of it is worked on.
        target: the new database.
        timeout: seconds for SQLite's own program.

    Returns: what was read; nothing of a file that is no database at all. Never fails on what the file holds.
    """
    work = raw.with_name(f"{raw.name}.work")
    try:
        for trace in ("", *TRACES):
            if Path(f"{raw}{trace}").is_file():
                shutil.copyfile(f"{raw}{trace}", f"{work}{trace}")
        make_empty(target)  # what is read goes into it
        return _by_program(work, target, timeout) or _by_tables(work, target)
    except OSError as error:
        raise cannot_write(raw.parent, error) from error
    finally:
        for trace in ("", ".sql", *TRACES):
            Path(f"{work}{trace}").unlink(missing_ok=True)


def _by_program(work: Path, target: Path, timeout: float) -> Recovered | None:
    """SQLite's `.recover` goes through every page. None when the program is missing, too old, or found nothing."""
    script = Path(f"{work}.sql")
    try:
        run(["sh", "-c", _RECOVER, "sh", work, script], timeout=timeout)
    except CommandError:  # some distributions' cannot do it at all
        return None
    problems: list[str] = []
    with closing(sqlite3.connect(target)) as database:
        database.isolation_level = None
        with open(script, encoding="utf-8", errors="replace") as lines:
            for statement in _statements(lines):
                try:
                    database.execute(statement)
                except sqlite3.Error as error:
                    problems.append(f"{error}: {statement[:80].strip()}")
        if database.in_transaction:
            database.execute("COMMIT")
    found = _recovered("SQLite's .recover", target, problems)
    return found if found.tables else None


def _statements(lines: Iterable[str]) -> Iterator[str]:
    statement = ""
    for line in lines:
        statement += line
        if line.rstrip().endswith(";") and sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _by_tables(work: Path, target: Path) -> Recovered:
    """Every table from its beginning, and from its end, up to where it is damaged."""
    problems: list[str] = []
    make_empty(target)
    try:
        with opened(work, timeout=_QUICK_S) as source, closing(sqlite3.connect(target)) as database:
            for table in table_names(source):
                _copy_table(source, database, table, problems)
            database.commit()
    except GaiaError as error:
        problems.append(error.what)
    return _recovered("reading table by table", target, problems)


def _copy_table(source: sqlite3.Connection, target: sqlite3.Connection, table: str, problems: list[str]) -> None:
    try:
        [made] = source.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", [table]).fetchone()
        target.execute(made)
        for order in ("rowid", "rowid DESC"):
            rows = source.execute(f"SELECT rowid, * FROM {quoted(table)} ORDER BY {order}")  # noqa: S608
            names = ["rowid", *(column[0] for column in rows.description[1:])]
            into = f"INSERT OR IGNORE INTO {quoted(table)} ({', '.join(map(quoted, names))})"
            insert = f"{into} VALUES ({', '.join('?' * len(names))})"
            try:
                for row in rows:
                    target.execute(insert, row)
            except sqlite3.DatabaseError as error:
                if order == "rowid":
                    problems.append(f"{table}: {error}")
                continue
            return
    except sqlite3.Error as error:
        problems.append(f"{table}: {error}")


def _recovered(how: str, target: Path, problems: list[str]) -> Recovered:
    """What came of it, as far as it can be counted."""
    tables: dict[str, int] = {}
    with suppress(GaiaError), opened(target) as database:
        for table in table_names(database):
            with suppress(sqlite3.Error):
                tables[table] = database.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0]  # noqa: S608
    return Recovered(how, tables, tuple(problems[:_SHOWN_PROBLEMS]))

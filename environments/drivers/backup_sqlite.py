"""A consistent copy of a SQLite database while others write to it, by SQLite's online backup."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from environments.drivers.databases import BUSY_S, Watch, foreseen, in_use, opened, too_long

_PAGES = 500  # in one step: 2 MB of the usual 4 kB
_PAUSE_S = 0.005
_RESTARTS = 3


class _Restless(Exception):
    """Others write so often that the copy begins again and again."""


def copy_database(source: Path, target: Path, *, timeout: float, watch: Watch | None = None) -> None:
    """Copy a database as it is at one moment.

    In WAL mode, which is what GAIA's stages begin with, one snapshot is read from beginning to end and nobody waits. In
    the other modes whoever writes makes SQLite begin again; after three times it is copied in one go, and writers wait
    for as long as that takes.

    Args:
        source: the database; it is not changed.
        target: a file that does not exist; mode 0600.
        timeout: seconds.
        watch: told how far it is.

    Raises: NotFound, DatabaseDamaged, DatabaseInUse, Refused, Unavailable.
    """
    deadline = time.monotonic() + timeout
    target.touch(mode=0o600, exist_ok=False)
    with opened(source, timeout=min(BUSY_S, timeout)) as reader:
        wal = reader.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        if wal:
            reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()  # with BEGIN, the snapshot begins here
        try:
            with closing(sqlite3.connect(target)) as writer:
                writer.execute("PRAGMA journal_mode = OFF")  # half a copy is thrown away, never rolled back
                writer.execute("PRAGMA synchronous = OFF")
                try:
                    _steps(reader, writer, source, deadline, timeout, watch, pause=not wal)
                except _Restless:
                    _steps(reader, writer, source, deadline, timeout, watch, at_once=True)
        except sqlite3.Error as error:
            # the online backup reports errors of both sides on the target's connection
            raise foreseen(error, source if _concerns_reading(error) else target) from error


def _concerns_reading(error: sqlite3.Error) -> bool:
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _steps(
    reader: sqlite3.Connection,
    writer: sqlite3.Connection,
    source: Path,
    deadline: float,
    timeout: float,
    watch: Watch | None,
    *,
    pause: bool = False,
    at_once: bool = False,
) -> None:
    left_before, restarts = -1, 0

    def progress(status: int, left: int, total: int) -> None:
        nonlocal left_before, restarts
        if time.monotonic() > deadline:
            busy = status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            raise in_use(source) if busy else too_long(f"copying {source.name}", timeout)
        if watch is not None:
            watch(1 - left / total if total else 0.0)
        if status != sqlite3.SQLITE_OK:
            return
        restarts += pause and 0 <= left_before <= left
        left_before = left
        if restarts > _RESTARTS:
            raise _Restless
        if pause:
            time.sleep(_PAUSE_S)  # outside of a step nothing is locked: those who wait to write get their turn

    reader.backup(writer, pages=-1 if at_once else _PAGES, progress=progress, sleep=_PAUSE_S)

"""What tests of backups ask and do: a stage with something in its database, and what is in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from environments.actions.databases import Database
from environments.models import Stage


def file_of(stage: Stage) -> Path:
    return Database(stage).file


def fill(stage: Stage, *names: str) -> Path:
    """Put rows into a table of the stage's database, which is made for it."""
    file = file_of(stage)
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS customer (name TEXT)")
        database.executemany("INSERT INTO customer VALUES (?)", [(name,) for name in names])
        database.commit()
    return file


def customers(stage: Stage) -> list[str]:
    """What is in it now."""
    with closing(sqlite3.connect(file_of(stage))) as database:
        return [name for (name,) in database.execute("SELECT name FROM customer ORDER BY name")]


def break_it(stage: Stage) -> bytes:
    """Make a stage's database one that cannot be read any more; what its file holds then."""
    file = file_of(stage)
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [size] = database.execute("PRAGMA page_size").fetchone()
    data = bytearray(file.read_bytes())
    data[size + 100 :] = b"\xa5" * (len(data) - size - 100)
    file.write_bytes(data)
    return bytes(data)

"""Programs that write to a SQLite database without a pause, as a stage does, and databases to write to."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.environments.drivers.repositories import eventually

# Each transaction moves an amount from one account to the other and notes it: the sum never changes.
_WRITER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
database.execute("PRAGMA synchronous = OFF")
number = 0
while True:
    number += 1
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE account SET amount = amount - 1 WHERE id = 1")
    database.execute("INSERT INTO moved (note) VALUES (?)", ["x" * 200])
    database.execute("UPDATE account SET amount = amount + 1 WHERE id = 2")
    database.execute("DELETE FROM moved WHERE id < (SELECT max(id) FROM moved) - 400")
    database.execute("COMMIT")
    if number == 20:
        print("writing", flush=True)
"""
TOTAL = 1000


def make_database(file: Path, *, rows: int = 2000, mode: str = "wal") -> Path:
    """A database of a few hundred pages with two accounts, what was moved between them, and a blob of padding."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.executescript(
            "CREATE TABLE account (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL);"
            "CREATE TABLE moved (id INTEGER PRIMARY KEY, note TEXT);"
            "CREATE TABLE padding (id INTEGER PRIMARY KEY, text TEXT);"
            "CREATE INDEX notes ON moved (note);"
        )
        database.execute("INSERT INTO account VALUES (1, ?), (2, 0)", [TOTAL])
        database.executemany("INSERT INTO padding (text) VALUES (?)", ((f"row {n} " + "p" * 500,) for n in range(rows)))
        database.commit()
    return file


def sums(file: Path) -> tuple[int, int]:
    """What is in the accounts together, and how many rows of padding there are."""
    with closing(sqlite3.connect(file)) as database:
        [amount] = database.execute("SELECT sum(amount) FROM account").fetchone()
        [rows] = database.execute("SELECT count(*) FROM padding").fetchone()
        return amount, rows


@contextmanager
def writing(file: Path, number: int = 2) -> Iterator[list[subprocess.Popen[str]]]:
    """So many processes that write all the time; they are at it when the block begins.

    Yields: those that must go on until the block ends.
    """
    started = [
        subprocess.Popen([sys.executable, "-c", _WRITER, file], stdout=subprocess.PIPE, text=True)
        for _ in range(number)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
        going_on = list(started)
        yield going_on
        assert not any(process.poll() for process in going_on), "a writer was thrown out"
    finally:
        for process in started:
            process.kill()
            process.communicate()


def spoil(file: Path, *, page: int = 20, pages: int = 6) -> None:
    """Overwrite some pages in the middle, as a failing disk does."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [size] = database.execute("PRAGMA page_size").fetchone()
    with open(file, "r+b") as stream:
        stream.seek(page * size)
        stream.write(b"\xa5" * size * pages)


def gone(*processes: subprocess.Popen[str]) -> None:
    """Wait for their ends."""
    eventually(lambda: all(process.poll() is not None for process in processes), "they go on")

"""Databases are looked through in nobody's way: no file is made, no writer waits, and what is said is true."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from environments.drivers import checks_databases
from environments.drivers.checks_databases import problem_of

PAGE = 4096


@pytest.fixture(params=["wal", "delete"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A database of some pages, which nobody has open, in either journal mode."""
    file = tmp_path / "a b#c?.db"  # a name that means something else in a URL
    with closing(sqlite3.connect(file)) as made, made:
        made.execute(f"PRAGMA journal_mode={request.param}")
        made.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT)")
        made.executemany("INSERT INTO note (text) VALUES (?)", [("x" * 300,) for _ in range(300)])
        made.execute("CREATE INDEX by_text ON note (text, id)")
    return file


def beside(file: Path) -> set[str]:
    return {each.name for each in file.parent.iterdir()}


def test_a_whole_one_is_well_and_nothing_is_made_beside_it(database: Path) -> None:
    before = beside(database), database.stat().st_mtime_ns
    assert problem_of(database) == ""
    assert (beside(database), database.stat().st_mtime_ns) == before


@pytest.mark.parametrize("page", [2, 10])
def test_a_torn_page_is_found(database: Path, page: int) -> None:
    with database.open("r+b") as file:
        file.seek(PAGE * (page - 1))
        file.write(os.urandom(PAGE))
    assert isinstance(problem_of(database), str)
    assert problem_of(database)


def test_one_that_was_cut_off_is_found(database: Path) -> None:
    os.truncate(database, PAGE * 3 + 100)
    assert problem_of(database)


def test_what_lies_in_the_write_ahead_log_counts(tmp_path: Path) -> None:
    """Somebody has it open: it is read through the log, whose index is not written."""
    file = tmp_path / "open.db"
    with closing(sqlite3.connect(file)) as held:
        held.execute("PRAGMA journal_mode=wal")
        with held:
            held.execute("CREATE TABLE note (text TEXT)")
            held.executemany("INSERT INTO note VALUES (?)", [("x" * 300,) for _ in range(300)])
        assert Path(f"{file}-wal").stat().st_size > file.stat().st_size, "all of it is in the log"
        before = beside(file)
        assert problem_of(file) == ""
        assert beside(file) == before
        aside = tmp_path / "aside"
        aside.mkdir()
        shutil.copy(file, aside / "open.db")
        shutil.copy(f"{file}-wal", aside / "open.db-wal")
        assert problem_of(aside / "open.db") is checks_databases._Unclear.NO_INDEX
        assert beside(aside / "open.db") == {"open.db", "open.db-wal"}


_WRITER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=0)  # whoever makes it wait makes it fail
print("begun", flush=True)
while True:
    with database:
        database.execute("INSERT INTO note (text) VALUES (?)", ("y" * 300,))
    print("wrote", flush=True)
"""


@pytest.fixture
def writer(database: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that writes without end, and without patience."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(database)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_no_writer_is_held_up_and_nothing_wrong_is_said(database: Path, writer: subprocess.Popen[str]) -> None:
    answers = [problem_of(database) for _ in range(20)]
    assert writer.poll() is None, writer.stderr and writer.stderr.read()
    assert {answer for answer in answers if isinstance(answer, str)} <= {""}


def test_a_write_that_was_interrupted_is_not_called_damage(tmp_path: Path) -> None:
    file = tmp_path / "half.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as held:
        held.execute("CREATE TABLE note (text TEXT)")
        held.execute("PRAGMA cache_size=1")
        held.execute("BEGIN IMMEDIATE")
        held.executemany("INSERT INTO note VALUES (?)", [("x" * 3000,) for _ in range(50)])
        assert Path(f"{file}-journal").exists()
        assert problem_of(file) is checks_databases._Unclear.JOURNAL
        held.execute("ROLLBACK")
    assert problem_of(file) == ""


def test_one_that_takes_too_long_is_given_up(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_databases, "_STEPS", 1)
    assert problem_of(database, timeout=0) is checks_databases._Unclear.SLOW
